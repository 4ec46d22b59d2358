"""Durations as people write them: `500ms`, `30s`, `10m`, `2h`, `7d`, `1h30m`, or seconds as a number."""

from __future__ import annotations

import re

from perdure.base.clock import DAY, HOUR, MINUTE, SECOND

MAX_DURATION = 3650 * DAY

_UNITS = {"us": 1, "ms": 1000, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(us|ms|s|m|h|d)")


def parse_duration(value: str | int | float) -> int:
    """Microseconds of a written duration.

    Raises ValueError for anything else, for negative values and for more than ten years.
    """
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds or text like 30s, 10m, 1h30m")
    if isinstance(value, int | float):
        total = value * SECOND
    else:
        end = 0
        total = 0.0
        for part in _PART.finditer(value):
            if part.start() != end:
                break
            total += float(part[1]) * _UNITS[part[2]]
            end = part.end()
        if end != len(value) or not value:
            raise ValueError(f"{value!r} is no duration; write 500ms, 30s, 10m, 2h, 7d or 1h30m")
    if not 0 <= total <= MAX_DURATION:
        raise ValueError(f"{value!r} is out of range: from 0 to 3650d")
    return round(total)


def format_duration(micros: int) -> str:
    """The shortest of the forms above: `1h30m`, `250ms`, `0s`."""
    if micros == 0:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, micros = divmod(micros, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
