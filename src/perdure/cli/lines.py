"""Events and log lines as lines of text, for pipes, files and small terminals."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from perdure.base.clock import SECOND, SystemClock, from_rfc3339
from perdure.cli.output import on_one_line
from perdure.model.event import EventType
from perdure.wire.events import Event, LogLine


def clock_time(at: str) -> str:
    """`14:03:11.482` in local time."""
    moment = datetime.fromtimestamp(from_rfc3339(at) / SECOND).astimezone()
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def run_name(node: str | None, ordinal: int | None, *, label: str | None = None, foreach: Collection[str] = ()) -> str:
    """`fetch`; one of a foreach by its label or place: `fetch[example.org]`, `fetch[3]`. `foreach` are the nodes that are one."""
    if node is None:
        return ""
    if label:
        return f"{node}[{label}]"
    return f"{node}[{ordinal}]" if ordinal or node in foreach else node


def queue_name(queue: str, requires: Collection[str]) -> str:
    """`default`; with the tags that its workers must have: `default (requires gpu, linux)`."""
    return f"{queue} (requires {', '.join(requires)})" if requires else queue


def event_line(event: Event, foreach: Collection[str] = ()) -> str:
    """One event as a line without its end."""
    data = event.data or {}
    if event.type == EventType.LOG:
        return log_line(log_of(event), foreach)
    subject, _, word = event.type.partition(".")
    name = run_name(event.node, event.ordinal, label=data.get("label"), foreach=foreach) or "execution"
    if subject not in {"node", "execution"}:
        word = event.type.replace(".", " ")
    attempt = f" (attempt {event.attempt})" if (event.attempt or 1) > 1 else ""
    return f"{clock_time(event.at)}  {name:<24}  {word}{attempt}{on_one_line(_because(data))}"


def log_of(event: Event) -> LogLine:
    """The log line that an event of type `log` is."""
    data = event.data or {}
    return LogLine(
        seq=event.seq,
        at=event.at,
        node=event.node,
        ordinal=event.ordinal,
        attempt=event.attempt,
        level=str(data.get("level", "info")),
        message=str(data.get("message", "")),
        stream=data.get("stream"),
    )


def log_line(line: LogLine, foreach: Collection[str] = ()) -> str:
    """One log line: when, which node run, its level where it is not info, the text."""
    name = run_name(line.node, line.ordinal, foreach=foreach) or "execution"
    level = "" if line.level == "info" else f"{line.level}: "
    return f"{clock_time(line.at)}  {name:<24}  | {level}{line.message}"


def _because(data: dict[str, Any]) -> str:
    """The part of an event's data that a person wants on the line."""
    if "code" in data and "message" in data:
        return f"  {data['code']}: {data['message'].splitlines()[0] if data['message'] else ''}"
    told = [_fact(key, value) for key, value in data.items() if key not in {"label", "items"} and value is not None]
    return "  " + " ".join(told) if told else ""


def _moment(at: str) -> str:
    """The time of day; of another day, the date with it."""
    day, today = (
        datetime.fromtimestamp(one / SECOND).astimezone().date() for one in (from_rfc3339(at), SystemClock().now())
    )
    return clock_time(at) if day == today else f"{day}T{clock_time(at)}"


def _fact(key: str, value: Any) -> str:
    if key.endswith("_at"):
        return f"{key.removesuffix('_at')}={_moment(value)}"
    return f"{key}={value}"
