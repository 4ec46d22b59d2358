"""What a process has to do with the others on its store: hints to them and from them, rescue, their events, its inboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from perdure.base.clock import Clock
from perdure.engine.demand import Demand
from perdure.engine.ends import Ends
from perdure.engine.follower import Follower
from perdure.engine.hub import Hub
from perdure.engine.loops.loop import Loop
from perdure.engine.loops.rescuer import Rescuer
from perdure.engine.owners import Owners
from perdure.engine.pace import Pace
from perdure.errors import StoreIncompatible
from perdure.store.interface import BatchOutcome, Store
from perdure.store.recorder import Recorder
from perdure.store.sharing import Hint, Signals

_SCAN_S = 10.0
"""Behind hints about messages stands a slow look into the inboxes."""
_POLL_S = 1.0
"""Of every pause, so that processes do not keep step."""


class Worker(Protocol):
    """The engine, as far as others have something for it."""

    @property
    def worker_id(self) -> str: ...

    async def give_up(self, error: StoreIncompatible) -> None:
        """A newer schema forbids this program to go on."""
        ...

    def wake(self, lines: Sequence[str] | None) -> None:
        """These lines of the queue (None: perhaps any) got rows."""
        ...


class Neighbours:
    """Used on the loop only."""

    def __init__(
        self,
        *,
        store: Store,
        signals: Signals,
        recorder: Recorder,
        clock: Clock,
        lease: int,
        hub: Hub,
        ends: Ends,
        owners: Owners,
        worker: Worker,
        pace: Pace,
    ) -> None:
        self._signals = signals
        self._owners = owners
        self._worker = worker
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._coming: asyncio.TimerHandle | None = None
        self._coming_for: dict[str, None] | None = {}
        self._follower = Follower(
            store=store, hub=hub, ends=ends, clock=clock, has_hints=lambda: signals.is_live, ask=self._ask, pace=pace
        )
        self._demand = Demand(clock)
        self._rescuer = Rescuer(store=store, recorder=recorder, clock=clock, lease=lease, pace=pace)
        self._following = Loop("follower", self._follower.work)
        self._inboxes = Loop("inboxes", self._look_into_inboxes)
        self.loops = [Loop("rescuer", self._rescue), self._following, self._inboxes]
        hub.on_first = ends.on_first = self._following.wake

    def pause_s(self, *, hinted: float, unhinted: float) -> float:
        """How long a loop may rest that hints wake, where they come."""
        return self._pace.scan(hinted) if self._signals.is_live else self._pace.pause(unhinted)

    async def start(self) -> None:
        await self._signals.start(self._heard)
        for loop in self.loops:
            loop.start()

    async def stop(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
        for loop in self.loops:
            await loop.stop()
        await self._signals.close()

    def tell(self, outcome: BatchOutcome, *, lines: Sequence[str]) -> None:
        """What of a committed batch concerns others; `lines` got work that is not for this process."""
        if outcome.feed is not None:
            self._follower.own_writer = outcome.feed[0]
        mine = self._worker.worker_id
        deliveries = [(worker, id_) for worker, id_ in outcome.deliveries if worker != mine]
        feed = {} if outcome.feed is None else self._demand.told(dict([outcome.feed]))
        if deliveries or lines or feed:
            self._signals.send(Hint(deliveries=deliveries, lines=list(lines), feed=feed))

    def pass_on(self, lines: Sequence[str]) -> None:
        """There is more in these lines than this process can take."""
        if lines:
            self._signals.send(Hint(lines=list(lines)))

    def _ask(self, follows: bool) -> None:
        """Others are to tell of their commits, and so is this process: who hears of its asking need not ask himself."""
        self._signals.send(Hint(follows=follows, feed=self._demanded(follows)))

    def _demanded(self, follows: bool) -> dict[int, int]:
        if follows:
            return self._demand.asked()
        self._demand.sated()
        return {}

    def _heard(self, hint: Hint) -> None:
        if hint.everything:
            self._follower.look_everywhere()
            self._following.wake()
            self._inboxes.wake()
            self._come_for(None)
            return
        if hint.deliveries:
            mine = self._worker.worker_id
            self._owners.deliver_soon([id_ for worker, id_ in hint.deliveries if worker == mine])
        if hint.lines:
            self._come_for(hint.lines)
        if hint.follows is not None:
            self._follower.asked(hint.follows)
            if not hint.follows:
                self._following.wake()
            feed = self._demanded(hint.follows)
            if feed:
                self._signals.send(Hint(feed=feed))
        if hint.feed and self._follower.note(hint.feed):
            self._following.wake()

    def _come_for(self, lines: Sequence[str] | None) -> None:
        if lines is None or self._coming_for is None:
            self._coming_for = None
        else:
            self._coming_for |= dict.fromkeys(lines)
        if self._coming is None:
            self._coming = self._loop.call_later(self._pace.apart(), self._come)

    def _come(self) -> None:
        lines, self._coming, self._coming_for = self._coming_for, None, {}
        self._worker.wake(None if lines is None else list(lines))

    async def _rescue(self) -> float:
        try:
            return await self._rescuer.work()
        except StoreIncompatible as error:
            await self._worker.give_up(error)
            raise

    async def _look_into_inboxes(self) -> float:
        await self._owners.deliver_all()
        return self.pause_s(hinted=_SCAN_S, unhinted=_POLL_S)
