"""Signals: a waiting node run takes one, or it is kept until a wait for its name opens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.base.codec import decode, encode_text
from perdure.base.ids import id_text
from perdure.errors import LimitExceeded
from perdure.model.answer import APPROVAL, ASK, MAX_SIGNALS, SIGNAL, terms_of
from perdure.model.decide.answer import received
from perdure.model.event import Event, EventType
from perdure.store.commands import SendSignal
from perdure.store.procedures.answers import decide
from perdure.store.procedures.context import Context
from perdure.store.procedures.outside import locked, open_waits, tell
from perdure.store.procedures.queueing import standings
from perdure.store.records import Advance, SignalSent, WaitRecord
from perdure.store.statements import All, Many, Procedure


def send_signal(context: Context, command: SendSignal) -> Procedure[SignalSent]:
    one = yield from locked(command.workspace, command.execution_id)
    waits = [wait for wait in (yield from open_waits(one.id)) if wait.kind == SIGNAL]
    waits.sort(key=lambda wait: (wait.created_at, wait.key))
    for wait in waits:
        terms = terms_of(wait.data)
        if terms.name == command.name and terms.decision is None:
            after = received(terms, payload=command.payload, by=command.sender, at=command.at)
            yield from decide(context, one, wait, after, command.at, _told(command.sender, command.name))
            return SignalSent(wait=wait, buffered=0)
    rows = yield Many("signals_kept", [(one.id,)])
    if len(rows) >= MAX_SIGNALS:
        raise LimitExceeded(
            f"execution {id_text(one.id)} keeps {len(rows)} signals that nothing has taken yet, which is the limit",
            limit=MAX_SIGNALS,
        )
    kept = (one.id, command.name, encode_text(command.payload), command.sender, command.at)
    yield Many("signals_put", [kept])
    data = {"name": command.name, "by": command.sender}
    yield from tell(context, one, Event(EventType.EXECUTION_SIGNALLED, command.at, data=data), command.at)
    return SignalSent(wait=None, buffered=1 + sum(1 for row in rows if row[2] == command.name))


def open_to_others(context: Context, opened: Sequence[tuple[Advance, WaitRecord]]) -> Procedure[None]:
    """Waits that owners have just opened: who may answer them is written down, and kept signals are taken."""
    approvers = [
        (advance.execution_id, *wait.key, name, advance.workspace, wait.created_at)
        for advance, wait in opened
        if wait.kind in (APPROVAL, ASK)
        for name in dict.fromkeys(terms_of(wait.data).named_approvers())
    ]
    if approvers:
        yield Many("wait_approvers_put", approvers)
    waiting = [(advance, wait) for advance, wait in opened if wait.kind == SIGNAL]
    if waiting:
        yield from _take_kept(context, waiting)


def _take_kept(context: Context, waiting: Sequence[tuple[Advance, WaitRecord]]) -> Procedure[None]:
    """The oldest of each name goes to the wait that opened first."""
    ids = sorted({advance.execution_id for advance, _ in waiting})
    rows = sorted((yield Many("signals_kept", [(id,) for id in ids])), key=lambda row: row[1])
    if not rows:
        return
    kept: dict[tuple[bytes, str], list[int]] = {}
    for id, n, name in rows:
        kept.setdefault((id, name), []).append(n)
    found = yield from standings(ids)
    for advance, wait in waiting:
        terms = terms_of(wait.data)
        line = kept.get((advance.execution_id, terms.name or ""))
        if line:
            n = line.pop(0)
            [(payload, sender)] = yield All("signal", {"n": n})
            yield Many("signals_take", [(n, advance.execution_id)])
            after = received(terms, payload=decode(payload), by=sender, at=advance.updated_at)
            one = found[advance.execution_id]
            yield from decide(context, one, wait, after, advance.updated_at, _told(sender, terms.name))
            if one.worker is None:
                # An event was told in its name, so the next one has to be numbered behind it.
                found[one.id] = one._replace(last_seq=one.last_seq + 1)


def _told(sender: str, name: str | None) -> dict[str, Any]:
    return {"wait": SIGNAL, "by": sender, "approved": None, "comment": None, "name": name}
