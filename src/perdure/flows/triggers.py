"""What a schema cannot say about triggers: cron fields, time zones, names."""

from __future__ import annotations

import re
import zoneinfo
from typing import Any

from perdure.flows.report import Report
from perdure.model.definition import is_segment

_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("weekday", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_PART = re.compile(r"(\*|[0-9]+|[a-z]{3})(?:-([0-9]+|[a-z]{3}))?(?:/([0-9]+))?(?:#[1-5])?")
_LONGEST_MONTH = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def check_triggers(triggers: Any, report: Report) -> None:
    for number, trigger in enumerate(triggers if isinstance(triggers, list) else []):
        if not isinstance(trigger, dict):
            continue
        pointer = f"/triggers/{number}"
        schedule, webhook = trigger.get("schedule"), trigger.get("webhook")
        if isinstance(schedule, dict):
            if isinstance(schedule.get("cron"), str) and (fault := cron_fault(schedule["cron"])):
                report.add("invalid_cron", fault, f"{pointer}/schedule/cron")
            zone = schedule.get("timezone")
            if isinstance(zone, str) and not _is_zone(zone):
                report.add(
                    "unknown_timezone",
                    f"{zone[:80]!r} is no time zone of the IANA list",
                    f"{pointer}/schedule/timezone",
                )
        if isinstance(webhook, dict) and isinstance(webhook.get("name"), str) and not is_segment(webhook["name"]):
            detail = f"{webhook['name'][:80]!r} is no name: a-z 0-9 _ . -, at most 63 characters"
            report.add("invalid_identifier", detail, f"{pointer}/webhook/name")


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def cron_fault(text: str) -> str | None:
    """What is wrong with a cron expression of five fields, else None."""
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        return f"{text[:80]!r} has {len(fields)} fields; write five: minute, hour, day, month, weekday"
    values: list[set[int]] = []
    for written, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        if written == "l" and name == "day":
            values.append({high})
            continue
        chosen: set[int] = set()
        for part in written.split(","):
            numbers = _numbers(part, low, high, names)
            if numbers is None:
                return f"the {name} {written!r} is wrong: numbers from {low} to {high}, lists, ranges and steps above 0"
            chosen |= numbers
        values.append(chosen)
    days, months = values[2], values[3]
    if fields[4] == "*" and not any(min(days) <= _LONGEST_MONTH.get(month, 31) for month in months):
        return f"{text[:80]!r} never fires: no such month has that day"
    return None


def _numbers(part: str, low: int, high: int, names: tuple[str, ...]) -> set[int] | None:
    match = _PART.fullmatch(part)
    if match is None:
        return None
    first, last, step = match.groups()
    if first == "*":
        if last is not None:
            return None
        start, end = low, high
    else:
        begin, until = _number(first, names), _number(last, names) if last else None
        if begin is None or (last and until is None):
            return None
        start, end = begin, until if until is not None else (high if step else begin)
    if step is not None and int(step) == 0:
        return None
    if not low <= start <= end <= high:
        return None
    return set(range(start, end + 1, int(step or 1)))


def _number(text: str, names: tuple[str, ...]) -> int | None:
    if text.isdigit():
        return int(text)
    return names.index(text) + (1 if len(names) == 12 else 0) if text in names else None
