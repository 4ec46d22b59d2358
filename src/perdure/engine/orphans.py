"""Attempts whose work could not be stopped and may still live in this process: only renewing the process ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.base.clock import Clock
from perdure.base.ids import id_text


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """One of them; `since` is in microseconds of the monotonic clock, `lives` asks whether it still runs."""

    execution: str
    node: str
    ordinal: int
    attempt: int
    since: int
    lives: Callable[[], bool]


class Orphans:
    """By age, the oldest first; those that ended after all are forgotten. Used on the loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orphans: list[Orphan] = []
        self.on_orphan: Callable[[], None] | None = None
        """Called after each new one."""

    def __len__(self) -> int:
        return len(self.living())

    def living(self) -> list[Orphan]:
        self._orphans = [orphan for orphan in self._orphans if orphan.lives()]
        return list(self._orphans)

    def add(self, execution: bytes, *, node: str, ordinal: int, attempt: int, lives: Callable[[], bool]) -> None:
        """An attempt was to stop and did not."""
        self._orphans.append(
            Orphan(
                execution=id_text(execution),
                node=node,
                ordinal=ordinal,
                attempt=attempt,
                since=self._clock.monotonic(),
                lives=lives,
            )
        )
        if self.on_orphan is not None:
            self.on_orphan()

    def describe(self) -> dict[str, Any]:
        """For system info: how many live, and for how long the oldest does, in seconds."""
        living = self.living()
        oldest = (self._clock.monotonic() - living[0].since) / 1_000_000 if living else None
        return {"living": len(living), "oldest_seconds": oldest}
