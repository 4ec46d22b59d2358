"""Concurrency slots: who holds one, who waits, and how one is handed on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from perdure.store.procedures.context import Context
from perdure.store.procedures.queueing import become_queued
from perdure.store.statements import All, Lock, Many, Procedure

HAND_ON_PAGE = 100

LimitKey = tuple[str, str]
"""workspace, limit key"""


class LimitBook:
    """One limit while a batch of starts is decided.

    `waiters_limit` is the limit that those obey who wait already, None when nobody waits.
    """

    __slots__ = ("held", "holder", "is_changed", "waiters_limit")

    def __init__(self, held: int, holder: bytes | None, waiters_limit: int | None) -> None:
        self.held = held
        self.holder = holder
        self.waiters_limit = waiters_limit
        self.is_changed = False

    def is_free(self, limit: int) -> bool:
        """Who comes now may not overtake those who wait."""
        return self.waiters_limit is None and self.held < limit

    def take(self, id: bytes) -> None:
        self.held += 1
        self.holder = self.holder or id

    def wait(self, limit: int) -> None:
        """The newest start brings the limit that is in force from now on."""
        self.is_changed |= self.waiters_limit not in (None, limit)
        self.waiters_limit = limit


def limit_books(keys: Iterable[LimitKey]) -> Procedure[dict[LimitKey, LimitBook]]:
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    yield Lock("limit", wanted)
    rows = yield Many("limits", wanted)
    return {(workspace, key): LimitBook(held, holder, limit) for workspace, key, held, holder, limit in rows}


def apply_changed_limits(context: Context, books: Mapping[LimitKey, LimitBook], at: int) -> Procedure[bool]:
    """Whoever waits obeys the newest limit; where it was raised there is room that nobody handed on."""
    changed = {key: book.waiters_limit for key, book in books.items() if book.is_changed}
    for (workspace, key), limit in changed.items():
        yield All("slots_relimit", {"workspace": workspace, "limit_key": key, "max_held": limit})
    if changed:
        yield from hand_on(context, changed, at)
    return bool(changed)


def release_slots(context: Context, holders: Sequence[tuple[bytes, str, str]], at: int) -> Procedure[None]:
    """Give back the slots (or places in the line) of (execution, workspace, limit key), and hand them on."""
    if not holders:
        return
    keys = sorted({(workspace, key) for _, workspace, key in holders})
    yield Lock("limit", keys)
    yield Many("slots_clear", [(id,) for id, _, _ in holders])
    yield from hand_on(context, keys, at)


def hand_on(context: Context, keys: Iterable[LimitKey], at: int) -> Procedure[None]:
    """Free slots go to those who wait, by rank. The keys are locked already."""
    wanted = yield Many("limits_wanted", sorted(keys))
    admitted: list[bytes] = []
    for workspace, key, held in wanted:
        admitted += yield from _admit(workspace, key, held)
    if admitted:
        yield from become_queued(context, admitted, at)


def _admit(workspace: str, key: str, held: int) -> Procedure[list[bytes]]:
    admitted: list[bytes] = []
    while True:
        rows = yield All("limit_waiters", {"workspace": workspace, "limit_key": key, "limit": HAND_ON_PAGE})
        taken: list[bytes] = []
        for id, max_held in rows:
            if held + len(taken) >= max_held:
                break
            taken.append(id)
        if taken:
            yield Many("slots_take", [(id,) for id in taken])
        admitted += taken
        held += len(taken)
        if len(taken) < HAND_ON_PAGE:
            return admitted
