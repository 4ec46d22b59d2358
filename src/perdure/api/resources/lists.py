"""Lists of executions, and statistics over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.cursors import decode_id_cursor, encode_cursor
from perdure.api.resources.filtering import Filters, TextFilters, execution_filter, text_filter
from perdure.api.resources.lookup import ANSWER_BYTES, next_link, value_size, value_text
from perdure.api.route import API, Outcome, Route
from perdure.api.shapes import execution, execution_summary, time_text
from perdure.auth.roles import Role
from perdure.base.clock import DAY, HOUR, SECOND
from perdure.errors import InvalidCursor, InvalidIdentifier, InvalidRequest, Problem
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.records import ExecutionRecord, Payload
from perdure.wire.executions import ExecutionList, ExecutionSelection, ExecutionStats

COUNT_CAP = 10_000
_SHARES = ("p50", "p95", "p99")

Field = Literal[
    "id", "number", "workspace", "namespace", "flow", "flow_version", "status", "reason", "priority", "queue", "requires", "tags",
    "trigger", "kind", "parent", "root", "replay_of", "idempotency_key", "concurrency_key", "recoveries", "worker", "created_at",
    "queued_at", "started_at", "finished_at", "updated_at", "deadline_at", "duration_ms", "input", "output", "error",
]  # fmt: skip
_VALUES = frozenset({"input", "output", "error"})


class ListQuery(TextFilters, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    order: Literal["newest", "oldest"] = "newest"
    count: Annotated[
        Literal["none", "capped", "exact"],
        Meta(
            description="`total`, of all pages. `exact` knows workspace, flow, namespace, status, trigger kind and time of "
            "creation from counters, and counts the rest one by one, which takes longer the more there are (beyond 10 s: 503); "
            "`capped` stops at 10,000 and says so in `total_capped`."
        ),
    ] = "none"
    fields: list[Field] = msgspec.field(default_factory=list)


class StatsQuery(Filters, kw_only=True, forbid_unknown_fields=True):
    group_by: Annotated[
        list[Literal["status", "flow", "namespace", "trigger", "hour", "day"]], Meta(min_length=1, max_length=3)
    ] = msgspec.field(default_factory=lambda: ["status"])
    durations: Annotated[bool, Meta(description="Percentiles of how long those took that ended, within 2 %.")] = False
    exact: Annotated[
        bool, Meta(description="`false`: what no counter knows is counted among the newest 50,000 only.")
    ] = True


async def list_executions(call: Call[ListQuery, None]) -> Answer:
    """One page, newest first unless `order` says otherwise."""
    query = call.query
    if query.cursor is not None and query.offset:
        raise InvalidRequest("cursor and offset exclude each other; give one of them")
    now = call.services.clock.now()
    filter = execution_filter(query, now)
    place = f"executions-{query.order}"
    after = decode_id_cursor(query.cursor, place, call.workspace)
    page = Page(limit=query.limit, after=after, offset=query.offset, newest_first=query.order == "newest")
    engine, texts = call.services.engine, text_filter(query)
    searched_until = None
    if texts is None:
        records, rest_after = await engine.store.executions.page(call.workspace, filter, page)
    else:
        _refuse_beside_text(query)
        records, rest_after, until = await engine.searcher.page(call.workspace, filter, texts, page)
        searched_until = time_text(until)
    total, capped = await _total(call, filter)
    wanted: set[str] = set(query.fields)
    if not wanted:
        data: list[Any] = [execution_summary(record, now) for record in records]
    else:
        payloads = await payloads_for(call, records, wanted)
        data, read = await select_fields(call, records, payloads, wanted | {"id"})
        if read < len(records):
            rest_after = records[read - 1].id
    cursor = None if rest_after is None else encode_cursor(place, call.workspace, rest_after.hex())
    kind: Any = ExecutionSelection if wanted else ExecutionList
    body = kind(data=data, next=cursor, total=total, total_capped=capped, searched_until=searched_until)
    return Answer(body=body, headers=next_link(call, cursor))


def _refuse_beside_text(query: ListQuery) -> None:
    """Counting and skipping what a text is found in would mean to look through all of it."""
    given = {"offset": query.offset != 0, "count": query.count != "none"}
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong:
        detail = "is not possible beside a text that is searched for"
        raise InvalidRequest(
            f"{wrong[0]} {detail}", problems=tuple(Problem("invalid_value", detail, parameter=name) for name in wrong)
        )


async def execution_stats(call: Call[StatsQuery, None]) -> Answer:
    """Counts by group, from the counters where these suffice; with `durations`, percentiles from histograms."""
    query = call.query
    filter = execution_filter(query, call.services.clock.now())
    executions = call.services.engine.store.executions
    rows, is_exact = await executions.statistics(
        call.workspace, filter, query.group_by, durations=query.durations, exact=query.exact
    )
    times = [name for name in ("hour", "day") if name in query.group_by]
    seconds = _seconds(times, filter)
    for row in rows:
        if query.durations:
            took = row.pop("duration_us")
            row["duration_ms"] = (
                None if took is None else dict(zip(_SHARES, (one / 1_000 for one in took), strict=True))
            )
        if seconds is not None:
            row["throughput_per_s"] = row["count"] / seconds
        for name in times:
            row[name] = time_text(row[name])
    return Answer(body=ExecutionStats(data=rows, exact=is_exact))


def _seconds(times: Sequence[str], filter: ExecutionFilter) -> float | None:
    """How long the time is in which a group's executions were created; None where it has no bounds."""
    if times:
        return (HOUR if "hour" in times else DAY) / SECOND
    if filter.created_after is None or filter.created_before is None or filter.created_before <= filter.created_after:
        return None
    return (filter.created_before - filter.created_after) / SECOND


async def _total(call: Call[ListQuery, None], filter: ExecutionFilter) -> tuple[int | None, bool]:
    if call.query.count == "none":
        return None, False
    cap = COUNT_CAP if call.query.count == "capped" else None
    total = await call.services.engine.store.executions.count(call.workspace, filter, cap)
    return total, cap is not None and total >= cap


async def payloads_for(call: Call[Any, Any], records: list[ExecutionRecord], wanted: set[str]) -> dict[bytes, Payload]:
    """What `select_fields` needs of these."""
    if not wanted & _VALUES:
        return {}
    ids = [record.id for record in records]
    return await call.services.engine.store.executions.payloads(call.workspace, ids)


async def select_fields(
    call: Call[Any, Any], records: list[ExecutionRecord], payloads: Mapping[bytes, Payload], wanted: set[str]
) -> tuple[list[dict[str, Any]], int]:
    """The wanted fields of as many records as one answer may hold, and how many these are."""
    now = call.services.clock.now()
    rows: list[dict[str, Any]] = []
    size = 0
    for record in records:
        payload = payloads.get(record.id)
        if payload is None:
            whole = execution(record, input=None, output=None, error=None, now=now)
        else:
            size += value_size(payload.input) * ("input" in wanted) + value_size(payload.output) * ("output" in wanted)
            if size > ANSWER_BYTES and rows:
                break
            whole = execution(
                record,
                input=await value_text(call, payload.input) if "input" in wanted else None,
                output=await value_text(call, payload.output) if "output" in wanted else None,
                error=payload.error,
                now=now,
            )
        rows.append({name: getattr(whole, name) for name in whole.__struct_fields__ if name in wanted})
    return rows, len(rows)


ROUTES = (
    Route(
        method="GET",
        path=f"{API}/executions",
        summary="List executions",
        description=(
            "Newest first, by cursor (or `offset` for small skips). Entries are summaries; `fields` picks their fields, "
            "values (`input`, `output`, `error`) among them. Each single condition is answered by an index. A combination "
            "that few executions meet is looked for within a bounded time: such a page, as one whose values grow large, "
            "may be short, even empty, and has a `next`. So is a search for texts, which goes through an index of its own: what "
            "was written up to `searched_until` has been looked through."
        ),
        tag="executions",
        handler=list_executions,
        role=Role.VIEWER,
        query=ListQuery,
        outcomes=(
            Outcome(type=ExecutionList, headers=("Link",)),
            Outcome(type=ExecutionSelection, description="With `fields`", headers=("Link",)),
        ),
        errors=(InvalidCursor, InvalidIdentifier),
    ),
    Route(
        method="GET",
        path=f"{API}/executions/stats",
        summary="Count executions by group",
        description=(
            "Flow, namespace, status, trigger kind and time of creation are known from counters, whatever the length of the "
            "history; with any other filter the executions are counted one by one (what takes longer than 10 s is given up, "
            "with 503), or with `exact=false` the newest 50,000. "
            "Percentiles are read fastest where neither status nor trigger is asked for, and by hour take time for each: "
            "give a range (`created_after`)."
        ),
        tag="executions",
        handler=execution_stats,
        role=Role.VIEWER,
        query=StatsQuery,
        outcomes=(Outcome(type=ExecutionStats),),
        errors=(InvalidIdentifier,),
    ),
)
