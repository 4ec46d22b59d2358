"""Reading inboxes, and whether the store answers at all."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.store.procedures.rows import message_of
from perdure.store.records import Message
from perdure.store.statements import All, Many, Procedure


def unread_messages(execution_ids: Sequence[bytes]) -> Procedure[dict[bytes, list[Message]]]:
    """Of each execution that has any, in order."""
    if not execution_ids:
        return {}
    rows = yield Many("inbox_of", [(id,) for id in dict.fromkeys(execution_ids)])
    found: dict[bytes, list[Message]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(message_of(row))
    return {id: sorted(messages, key=lambda message: message.n) for id, messages in found.items()}


def ping() -> Procedure[None]:
    yield All("measure", {"name": "ping"})
