"""When the timekeeper looks at timers: as they become due, and never over and over for one that another process holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure.base.clock import HOUR, MINUTE, SECOND
from perdure.base.manual_clock import ManualClock
from perdure.engine.loops.timekeeper import Timekeeper
from perdure.store.commands import StartExecutions
from perdure.store.recorder import Recorder
from perdure.store.sqlite.store import SqliteStore
from tests.store.world import World

PAUSE_S = 30.0


class Scene:
    """A timekeeper over a store, and how often it was told to come."""

    def __init__(self, store: SqliteStore) -> None:
        self.world = World(store)
        self.clock = ManualClock(self.world.now)
        self.recorder = Recorder(store)
        self.heeds_all = True
        self.calls: list[int] = []
        self.keeper = Timekeeper(
            recorder=self.recorder, clock=self.clock, pause_s=lambda: PAUSE_S, heeds_all=lambda: self.heeds_all
        )
        self.keeper.due = lambda: self.calls.append(self.clock.now())

    async def start(self, *due_at: int) -> None:
        news = [self.world.new(start_at=at) for at in due_at]
        await self.recorder.execute(StartExecutions(at=self.clock.now(), executions=news))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    store = SqliteStore(tmp_path / "perdure.db")
    made = Scene(store)
    yield made
    await made.recorder.close()
    await store.close()


async def test_it_comes_when_the_next_timer_is_due_whoever_set_it(scene: Scene) -> None:
    due_at = scene.clock.now() + HOUR
    await scene.start(due_at, due_at + HOUR)
    assert await scene.keeper.work() == PAUSE_S
    scene.clock.advance_to(due_at)
    assert scene.calls == [due_at]
    await scene.keeper.work()
    assert scene.clock.next_alarm == due_at + HOUR


async def test_one_of_many_comes_for_its_own_alone(scene: Scene) -> None:
    scene.heeds_all = False
    due_at = scene.clock.now() + HOUR
    await scene.start(due_at, due_at + HOUR)
    await scene.keeper.work()
    assert scene.clock.next_alarm is None
    scene.keeper.expect(due_at)
    await scene.keeper.work()
    assert scene.clock.next_alarm == due_at, "a look on the way does not make it forget"


async def test_more_than_are_fired_at_once_are_come_for_at_once(scene: Scene) -> None:
    scene.heeds_all = False
    due_at = scene.clock.now() + MINUTE
    await scene.start(*[due_at] * 600)
    scene.clock.advance_to(due_at)
    await scene.keeper.work()
    scene.clock.advance(0)
    assert scene.calls == [due_at]
    await scene.keeper.work()
    assert scene.clock.next_alarm is None


async def test_an_alarm_that_rings_early_is_set_again(scene: Scene) -> None:
    """The store's clock may turn out to be a little behind."""
    due_at = scene.clock.now() + HOUR
    await scene.start(due_at)
    scene.keeper.expect(due_at - SECOND)
    scene.clock.advance_to(due_at - SECOND)
    await scene.keeper.work()
    assert scene.clock.next_alarm == due_at
