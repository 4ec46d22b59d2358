"""Node type `sleep`: the engine wakes the execution when the time has come; nothing runs meanwhile."""

from __future__ import annotations

from typing import Any, ClassVar

from perdure.base.clock import from_rfc3339
from perdure.base.codec import Json
from perdure.base.durations import parse_duration
from perdure.errors import Problem
from perdure.nodes.interface import ControlNode

_SHAPE = "write a duration like 30s or 1h30m, seconds as a number, or {until: 2026-11-22T13:45:00Z}"


class SleepNode(ControlNode):
    name: ClassVar[str] = "sleep"
    config_schema: ClassVar[dict[str, Any]] = {
        "description": (
            "Waits: a duration (`30s`, `1h30m`, a number of seconds), or `{until: <RFC 3339 time>}`; a time that is "
            "past ends it at once. Its output is null."
        ),
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "number", "minimum": 0},
            {
                "type": "object",
                "properties": {"until": {"type": "string", "minLength": 1}},
                "required": ["until"],
                "additionalProperties": False,
            },
        ],
    }
    examples: ClassVar[list[Any]] = ["10m", 2.5, {"until": "2026-12-24T18:00:00+01:00"}, "${input.pause}"]

    def warn(self, config: Json) -> list[Problem]:
        """A time that is written out and is none."""
        written = config.get("until") if isinstance(config, dict) else config
        if isinstance(written, str) and "${" in written:
            return []
        try:
            sleep_until(config, 0)
        except ValueError as error:
            return [Problem("invalid_duration", str(error), "/until" if isinstance(config, dict) else "")]
        return []


def sleep_until(config: Any, now: int) -> int:
    """When a node with this rendered config is due, in microseconds; `now` if that is past.

    Raises ValueError, saying what would be right.
    """
    if isinstance(config, dict) and isinstance(config.get("until"), str) and len(config) == 1:
        try:
            return max(now, from_rfc3339(config["until"]))
        except ValueError:
            detail = f"{config['until'][:80]!r} is no time with an offset, such as 2026-11-22T13:45:00Z"
            raise ValueError(detail) from None
    if isinstance(config, str | int | float) and not isinstance(config, bool):
        return now + parse_duration(config)
    raise ValueError(f"{config!r} is no time to sleep: {_SHAPE}")
