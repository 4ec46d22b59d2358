"""What lists, statistics, exports of executions and operations on them are narrowed by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from perdure.api.resources.lookup import flow_parameter
from perdure.base.clock import to_micros
from perdure.base.durations import format_duration, parse_duration
from perdure.base.ids import id_bytes
from perdure.base.nearest import choices
from perdure.base.tags import MAX_TAG_KEY, MAX_TAG_VALUE, TAG_KEY, TAG_VALUE
from perdure.base.texts import NO_NUL, UUID
from perdure.engine.searching import TextFilter, too_short
from perdure.errors import InvalidRequest, Problem, invalid_request
from perdure.model.states import ExecutionKind, ExecutionStatus, TriggerKind
from perdure.store.interface import ExecutionFilter
from perdure.store.search.grams import SHORTEST
from perdure.wire.scalars import Namespace

Moment = Annotated[datetime, Meta(tz=True)]
Uuid = Annotated[str, Meta(pattern=UUID)]
Tags = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=320, pattern=NO_NUL)]],
    Meta(max_length=16,
         description="`key:value`, or `key` for any value; all must match. A key with `=` in it takes its value, too.",
         extra_json_schema={"x-separate": True}),
]  # fmt: skip
Trigger = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=221,
        pattern=NO_NUL,
        description=f"A kind ({', '.join(f'`{kind}`' for kind in TriggerKind)}), or `kind:id`: `schedule:nightly`",
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
    durations, wrong = _durations(query)
    wrong += [*_wrong_trigger(query.trigger), *_wrong_tags(query.tag), *wrong_ranges(query)]
    if wrong:
        raise invalid_request(wrong, part="query")
    kind, separator, trigger_id = (query.trigger or "").partition(":")
    return ExecutionFilter(
        statuses=tuple(query.status),
        flow=None if query.flow is None else flow_parameter(query.flow),
        namespace=query.namespace,
        tags=tuple((key, value if has_value else None) for key, has_value, value in map(_divided, query.tag)),
        trigger_kind=kind or None,
        trigger_id=trigger_id if separator else None,
        kind=None if query.kind == "any" else ExecutionKind(query.kind),
        worker=query.worker,
        now=now,
        **_converted(query, id_bytes, ("parent", "root", "replay_of")),
        **_converted(query, to_micros, _MOMENTS),
        **durations,
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


def _wrong_trigger(trigger: str | None) -> Iterator[Problem]:
    kind, separator, id = (trigger or "").partition(":")
    if trigger is not None and kind not in [*TriggerKind]:
        yield Problem("invalid_value", f'"{kind}" is none of {choices(kind, sorted(TriggerKind))}', parameter="trigger")
    elif separator and not id:
        detail = f'"{trigger}" names nothing behind the colon; write {kind}, or {kind}:ID'
        yield Problem("invalid_value", detail, parameter="trigger")


def _wrong_tags(tags: list[str]) -> Iterator[Problem]:
    for text in tags:
        key, has_value, value = _divided(text)
        left, is_pair, right = key.partition("=")
        if is_pair and not has_value:
            # A key that does hold "=" is found with its value behind a colon.
            detail = f'"{text}" is a key without a value; write {left}:{right}'
            yield Problem("invalid_value", detail, parameter="tag")
        elif not re.fullmatch(TAG_KEY, key) or not re.fullmatch(TAG_VALUE, value):
            detail = f'"{text}" is no tag; write key:value, or key for any value, without control characters'
            yield Problem("invalid_value", detail, parameter="tag")
        elif len(key) > MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
            detail = f'"{text}" is too long: keys have at most {MAX_TAG_KEY} characters, values {MAX_TAG_VALUE}'
            yield Problem("out_of_range", detail, parameter="tag")


def wrong_ranges(query: Any) -> Iterator[Problem]:
    """Pairs of `…_after` and `…_before` between which no time lies."""
    for name in ("created", "started", "finished"):
        after, before = getattr(query, f"{name}_after", None), getattr(query, f"{name}_before", None)
        if after is not None and before is not None and after > before:
            detail = f"it is earlier than {name}_after ({after.isoformat()}); exchange them"
            yield Problem("invalid_value", detail, parameter=f"{name}_before")


def _durations(query: Filters) -> tuple[dict[str, Any], list[Problem]]:
    found: dict[str, Any] = {"min_duration": None, "max_duration": None}
    problems = []
    for name in found:
        text = getattr(query, name)
        try:
            found[name] = None if text is None else parse_duration(float(text) if _is_number(text) else text)
        except ValueError as error:
            problems.append(Problem("invalid_value", str(error), parameter=name))
    least, most = found["min_duration"], found["max_duration"]
    if least is not None and most is not None and least > most:
        detail = f"it is less than min_duration ({format_duration(least)}); exchange them"
        problems.append(Problem("invalid_value", detail, parameter="max_duration"))
    return found, problems


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _divided(text: str) -> tuple[str, bool, str]:
    """A tag's key, whether a value follows, and that."""
    key, separator, value = text.partition(":")
    return key, bool(separator), value
