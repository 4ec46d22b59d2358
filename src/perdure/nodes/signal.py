"""Node type `signal`: the engine waits until a signal of that name is sent to the execution; nothing runs meanwhile."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from perdure.errors import Problem
from perdure.model.answer import OnExpiry, Terms
from perdure.nodes.approval import EXPIRY, faults, parse_expiry, parse_message
from perdure.nodes.interface import ControlNode
from perdure.wire.waits import SIGNAL_NAME


class SignalNode(ControlNode):
    name: ClassVar[str] = "signal"
    config_schema: ClassVar[dict[str, Any]] = {
        "description": (
            "Waits for a signal by its name; one that was sent before is taken at once, the oldest first. The node's "
            "`timeout` is when it expires. Its output is `{name, payload, outcome, by, at, comment}`."
        ),
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 1, "description": "The signal's name."},
                    "message": {"type": "string", "description": "What is waited for, for people."},
                    "on_expiry": {
                        "anyOf": [{"enum": ["fail"]}, EXPIRY],
                        "default": "fail",
                        "description": "What it comes to when no signal came in time: a failure, or `{value: …}` as "
                        "the payload.",
                    },
                },
                "required": ["name"],
                "additionalProperties": False,
            },
        ],
    }
    examples: ClassVar[list[Any]] = ["paid", {"name": "paid-${input.order}", "on_expiry": {"value": None}}]

    def check(self, config: Any) -> list[Problem]:
        """A name that is none, where it is known already."""
        name = config.get("name") if isinstance(config, dict) else config
        return faults({"name": name}, parse_signal) if isinstance(name, str) else []


def parse_signal(config: Any, *, attempt: int) -> Terms:
    """The terms of a wait for a signal with this rendered config. Raises ValueError, saying what would be right."""
    parts = {"name": config} if isinstance(config, str) else config
    name = parts.get("name") if isinstance(parts, dict) else None
    if not isinstance(name, str) or re.fullmatch(SIGNAL_NAME, name) is None:
        raise ValueError(f"{name!r} is no signal's name: letters, digits and _ . : / -, at most 127 characters")
    on_expiry, value = parse_expiry(parts.get("on_expiry", "fail"), allowed=(OnExpiry.FAIL,))
    return Terms(
        attempt=attempt, message=parse_message(parts.get("message")), name=name, on_expiry=on_expiry, value=value
    )
