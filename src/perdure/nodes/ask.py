"""Node type `ask`: the engine waits until somebody fills in a form; nothing runs meanwhile."""

from __future__ import annotations

from typing import Any, ClassVar

from perdure.model.answer import OnExpiry, Terms
from perdure.nodes.approval import APPROVERS, EXPIRY, parse_approvers, parse_expiry, parse_message
from perdure.nodes.interface import ControlNode


class AskNode(ControlNode):
    name: ClassVar[str] = "ask"
    config_schema: ClassVar[dict[str, Any]] = {
        "description": (
            "Waits until somebody answers; what fits the form is the answer. Without a form any JSON value is. The "
            "node's `timeout` is when it expires. Its output is `{answer, outcome, by, at, comment}`."
        ),
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "properties": {
                    "message": {"type": "string", "description": "What is asked."},
                    "form": {
                        "type": ["object", "string"],
                        "description": "JSON Schema 2020-12 of the answer, or its shorthand as in a flow's `input`: a map "
                        "from property to schema.",
                    },
                    "approvers": APPROVERS,
                    "on_expiry": {
                        "anyOf": [{"enum": ["fail"]}, EXPIRY],
                        "default": "fail",
                        "description": "What it comes to when nobody answered in time: a failure, or `{value: …}` as "
                        "the answer.",
                    },
                },
                "additionalProperties": False,
            },
        ],
    }
    examples: ClassVar[list[Any]] = [
        "Which region?",
        {
            "message": "How is ${input.city} to be visited?",
            "form": {"days": {"type": "integer", "minimum": 1}, "by": {"enum": ["train", "ship"], "default": "train"}},
            "on_expiry": {"value": {"days": 1, "by": "train"}},
        },
    ]


def parse_ask(config: Any, *, attempt: int) -> Terms:
    """The terms of an ask with this rendered config, its form as it is written.

    Raises ValueError, saying what would be right.
    """
    parts = {"message": config} if isinstance(config, str) else config
    if not isinstance(parts, dict):
        raise ValueError(f"{config!r} is nothing to ask; write a message, or {{message: …, form: {{…}}}}")
    form = parts.get("form")
    if form is not None and not isinstance(form, dict):
        raise ValueError(f"the form is a JSON Schema or a map from property to schema, not {form!r}")
    on_expiry, value = parse_expiry(parts.get("on_expiry", "fail"), allowed=(OnExpiry.FAIL,))
    return Terms(
        attempt=attempt,
        message=parse_message(parts.get("message")),
        approvers=parse_approvers(parts.get("approvers")),
        on_expiry=on_expiry,
        value=value,
        form=form,
    )
