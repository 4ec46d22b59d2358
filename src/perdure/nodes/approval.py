"""Node type `approval`: the engine waits for people to approve; nothing runs meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from perdure.base.codec import encode_text
from perdure.errors import Problem
from perdure.model.answer import MAX_APPROVERS, OnExpiry, OnReject, Terms
from perdure.nodes.interface import ControlNode

MAX_MESSAGE = 10_000
"""Characters of what people are asked."""
MAX_NAME = 200
"""Characters of an approver's name."""

EXPIRY: dict[str, Any] = {
    "type": "object",
    "properties": {"value": {}},
    "required": ["value"],
    "additionalProperties": False,
}
APPROVERS: dict[str, Any] = {
    "type": ["array", "string"],
    "items": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
    "maxItems": MAX_APPROVERS,
    "description": "Who may answer: names of tokens, and `operators`, `editors` or `admins` for everybody with at "
    "least that role. Without it, whoever may respond at all.",
}


class ApprovalNode(ControlNode):
    name: ClassVar[str] = "approval"
    config_schema: ClassVar[dict[str, Any]] = {
        "description": (
            "Waits until people approve, and fails when one of them rejects. A text is the message alone. The node's "
            "`timeout` is when it expires. Its output is `{approved, outcome, by, at, comment, responses}`."
        ),
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "properties": {
                    "message": {"type": "string", "description": "What is asked."},
                    "approvers": APPROVERS,
                    "quorum": {
                        "anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_APPROVERS}, {"type": "string"}],
                        "default": 1,
                        "description": "How many different people have to approve; one rejection rejects.",
                    },
                    "self_approval": {
                        "type": "boolean",
                        "default": False,
                        "description": "Whether the one who started the execution may approve it.",
                    },
                    "on_reject": {
                        "enum": ["fail", "complete"],
                        "default": "fail",
                        "description": "Whether a rejection fails the node (code `rejected`), or completes it with "
                        "`approved: false`.",
                    },
                    "on_expiry": {
                        "anyOf": [{"enum": ["fail", "approve", "reject"]}, EXPIRY],
                        "default": "fail",
                        "description": "What it comes to when nobody decided in time; `{value: …}` completes the node "
                        "with that as its output.",
                    },
                },
                "additionalProperties": False,
            },
        ],
    }
    examples: ClassVar[list[Any]] = [
        "Publish ${nodes.read.output.title}?",
        {"message": "Pay ${input.amount}?", "approvers": ["editors"], "quorum": 2, "on_expiry": "reject"},
    ]

    def check(self, config: Any) -> list[Problem]:
        """More approvals than there are approvers, where that is known already."""
        parts = config if isinstance(config, dict) else {}
        return faults({name: parts[name] for name in ("approvers", "quorum") if name in parts}, parse_approval)


def parse_approval(config: Any, *, attempt: int) -> Terms:
    """The terms of an approval with this rendered config. Raises ValueError, saying what would be right."""
    parts = {"message": config} if isinstance(config, str) else config
    if not isinstance(parts, dict):
        raise ValueError(f"{config!r} is no approval; write a message, or {{message: …, approvers: […]}}")
    quorum = parts.get("quorum", 1)
    if isinstance(quorum, str) and quorum.isdigit():
        quorum = int(quorum)
    if not isinstance(quorum, int) or isinstance(quorum, bool) or not 1 <= quorum <= MAX_APPROVERS:
        raise ValueError(f"the quorum is a number from 1 to {MAX_APPROVERS}, not {quorum!r}")
    approvers = parse_approvers(parts.get("approvers"))
    groups = {"operators", "editors", "admins"} & set(approvers)
    if approvers and not groups and quorum > len(approvers):
        raise ValueError(f"the quorum is {quorum}, but only {len(approvers)} may approve: {', '.join(approvers)}")
    on_expiry, value = parse_expiry(parts.get("on_expiry", "fail"), allowed=OnExpiry)
    return Terms(
        attempt=attempt,
        message=parse_message(parts.get("message")),
        approvers=approvers,
        quorum=quorum,
        self_approval=parts.get("self_approval", False) is True,
        on_reject=OnReject(parts.get("on_reject", "fail")),
        on_expiry=on_expiry,
        value=value,
    )


def parse_message(message: Any) -> str | None:
    if message is None or isinstance(message, str):
        return None if message is None else message[:MAX_MESSAGE]
    raise ValueError(f"the message is a text, not {message!r}")


def parse_approvers(approvers: Any) -> tuple[str, ...]:
    """A list of names, or one name; none where nothing is given."""
    names = [approvers] if isinstance(approvers, str) else approvers or []
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"approvers are a list of names, not {approvers!r}")
    if any(len(name) > MAX_NAME or not name.isprintable() for name in names):
        raise ValueError(f"an approver's name has up to {MAX_NAME} printable characters")
    if len(names) > MAX_APPROVERS:
        raise ValueError(f"an answer may come from {MAX_APPROVERS} approvers at most, not {len(names)}")
    return tuple(dict.fromkeys(names))


def parse_expiry(on_expiry: Any, *, allowed: Any) -> tuple[OnExpiry, Any]:
    """What stands under `on_expiry`, and its value."""
    if isinstance(on_expiry, dict) and on_expiry.keys() == {"value"}:
        return OnExpiry.VALUE, on_expiry["value"]
    words = [str(one) for one in allowed if one is not OnExpiry.VALUE]
    if on_expiry in words:
        return OnExpiry(on_expiry), None
    raise ValueError(f"on_expiry is {', '.join(words)} or {{value: …}}, not {on_expiry!r}")


def faults(config: Any, parse: Callable[..., Terms]) -> list[Problem]:
    """What `parse` says of a configuration without templates; what is filled in later is checked then."""
    if "${" in encode_text(config):
        return []
    try:
        parse(config, attempt=1)
    except ValueError as error:
        return [Problem("invalid_value", str(error), "")]
    return []
