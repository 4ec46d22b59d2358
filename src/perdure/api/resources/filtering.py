"""What lists, statistics, exports of executions and operations on them are narrowed by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from perdure.api.resources.lookup import flow_parameter
from perdure.base.clock import to_micros
from perdure.base.durations import parse_duration
from perdure.base.ids import id_bytes
from perdure.base.texts import END, NO_NUL, UUID
from perdure.engine.searching import TextFilter, too_short
from perdure.errors import InvalidRequest, Problem, invalid_request
from perdure.model.states import ExecutionKind, ExecutionStatus
from perdure.store.interface import ExecutionFilter
from perdure.store.search.grams import SHORTEST
from perdure.wire.scalars import Namespace

Moment = Annotated[datetime, Meta(tz=True)]
Uuid = Annotated[str, Meta(pattern=UUID)]
Tags = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=320, pattern=NO_NUL)]],
    Meta(max_length=16, description="`key:value`, or `key` for any value; all must match",
         extra_json_schema={"x-separate": True}),
]  # fmt: skip
Trigger = Annotated[
    str,
    Meta(
        pattern="^[a-z]{1,20}(:[^\\x00]{1,200})?" + END,
        description="A kind, or `kind:id`: `schedule`, `schedule:nightly`",
    ),
]
Took = Annotated[str, Meta(max_length=40, pattern=NO_NUL, description="From start to end, or to now: `30s`, `1h30m`")]
Needle = Annotated[
    str, Meta(max_length=1_000, pattern=NO_NUL, description="Of 3 characters and more; found without regard to case")
]


class Filters(Struct, kw_only=True, forbid_unknown_fields=True):
    """All conditions hold together; several values of one are alternatives, but for tags."""

    status: list[ExecutionStatus] = []
    flow: Annotated[str, Meta(max_length=127, pattern=NO_NUL)] | None = None
    namespace: Namespace | None = None
    tag: Tags = []
    trigger: Trigger | None = None
    kind: Annotated[
        Literal["flow", "unit", "any"], Meta(description="Units are parts of executions that run elsewhere.")
    ] = "flow"
    parent: Uuid | None = None
    root: Uuid | None = None
    replay_of: Uuid | None = None
    worker: (
        Annotated[str, Meta(max_length=200, pattern=NO_NUL, description="The id of the one that runs it now")] | None
    ) = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    started_after: Moment | None = None
    started_before: Moment | None = None
    finished_after: Moment | None = None
    finished_before: Moment | None = None
    min_duration: Took | None = None
    max_duration: Took | None = None


class TextFilters(Filters, kw_only=True, forbid_unknown_fields=True):
    """Besides, substrings of the first 2 KiB of each value, without regard to case."""

    q: Needle | None = None
    input_contains: Needle | None = None
    output_contains: Needle | None = None


def execution_filter(query: Filters, now: int) -> ExecutionFilter:
    """As the store takes it; `now` (microseconds) is when the request came. Raises InvalidIdentifier, InvalidRequest."""
    kind, separator, trigger_id = (query.trigger or "").partition(":")
    return ExecutionFilter(
        statuses=tuple(query.status),
        flow=None if query.flow is None else flow_parameter(query.flow),
        namespace=query.namespace,
        tags=tuple(_tag(text) for text in query.tag),
        trigger_kind=kind or None,
        trigger_id=trigger_id if separator else None,
        kind=None if query.kind == "any" else ExecutionKind(query.kind),
        worker=query.worker,
        now=now,
        **_converted(query, id_bytes, ("parent", "root", "replay_of")),
        **_converted(query, to_micros, _MOMENTS),
        **_durations(query),
    )


def text_filter(query: TextFilters) -> TextFilter | None:
    """None where no text is asked for. Raises InvalidRequest for texts that no index could find."""
    given = {"q": query.q, "input_contains": query.input_contains, "output_contains": query.output_contains}
    short = [name for name, needle in given.items() if needle is not None and too_short(needle)]
    if short:
        detail = f"a text to be searched for has {SHORTEST} characters at least"
        problems = tuple(Problem("out_of_range", detail, parameter=name) for name in short)
        raise InvalidRequest(detail, problems=problems)
    if not any(needle is not None for needle in given.values()):
        return None
    return TextFilter(anywhere=query.q, input=query.input_contains, output=query.output_contains)


_MOMENTS = (
    "created_after", "created_before", "started_after", "started_before", "finished_after", "finished_before",
)  # fmt: skip


def _converted(query: Filters, convert: Callable[[Any], Any], names: tuple[str, ...]) -> dict[str, Any]:
    given = {name: getattr(query, name) for name in names}
    return {name: None if value is None else convert(value) for name, value in given.items()}


def _durations(query: Filters) -> dict[str, Any]:
    found: dict[str, Any] = {}
    problems = []
    for name in ("min_duration", "max_duration"):
        text = getattr(query, name)
        try:
            found[name] = None if text is None else parse_duration(float(text) if _is_number(text) else text)
        except ValueError as error:
            problems.append(Problem("invalid_value", str(error), parameter=name))
    if problems:
        raise invalid_request(problems, part="query")
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _tag(text: str) -> tuple[str, str | None]:
    key, separator, value = text.partition(":")
    return key, value if separator else None
