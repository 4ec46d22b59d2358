"""Rates: so many starts per time, each late one with its reserved moment (GCRA, ITU-T I.371)."""

from __future__ import annotations

from collections.abc import Iterable

from perdure.store.records import RateClaim
from perdure.store.statements import Lock, Many, Procedure

RateKey = tuple[str, str]
"""workspace, rate key"""


class RateBook:
    """The theoretical arrival times while a batch of starts is decided."""

    def __init__(self, tats: dict[RateKey, int]) -> None:
        self._tats = tats
        self._changed: set[RateKey] = set()

    def reserve(self, workspace: str, claim: RateClaim, at: int) -> int:
        """When this start may go: `at` itself, or later. At most `limit` go at once after a pause of `per`."""
        key = (workspace, claim.key)
        interval = max(claim.per // claim.limit, 1)
        tat = max(self._tats.get(key, at), at) + interval
        self._tats[key] = tat
        self._changed.add(key)
        return max(at, tat - max(claim.per, interval))

    def settle(self) -> Procedure[None]:
        if self._changed:
            yield Many("rates_put", [(*key, self._tats[key]) for key in sorted(self._changed)])


def rate_book(keys: Iterable[RateKey]) -> Procedure[RateBook]:
    wanted = sorted(set(keys))
    if not wanted:
        return RateBook({})
    yield Lock("rate", wanted)
    rows = yield Many("rates", wanted)
    return RateBook({(workspace, key): tat for workspace, key, tat in rows})
