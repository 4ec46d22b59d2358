"""When the process is to be replaced: not too soon, not too often, and only while something lives on."""

from __future__ import annotations

import asyncio

from perdure.base.clock import MINUTE, SECOND
from perdure.base.ids import new_id
from perdure.base.manual_clock import ManualClock
from perdure.engine.orphans import Orphans
from perdure.recycler import Recycler


class Scene:
    def __init__(self, *, last_at: int | None = None) -> None:
        self.clock = ManualClock()
        self.orphans = Orphans(self.clock)
        self.recycler = Recycler(
            self.orphans, self.clock, after=30 * SECOND, pause=5 * MINUTE,
            last_at=None if last_at is None else self.clock.monotonic() + last_at,
        )  # fmt: skip
        self.due = asyncio.ensure_future(self.recycler.due())
        self.dead: set[str] = set()

    async def orphan(self, node: str) -> None:
        self.orphans.add(new_id(), node=node, ordinal=0, attempt=1, lives=lambda: node not in self.dead)
        await self.turn()

    async def advance(self, micros: int) -> None:
        self.clock.advance(micros)
        await self.turn()

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_it_is_due_once_the_oldest_has_lived_long_enough() -> None:
    scene = Scene()
    await scene.advance(MINUTE)
    await scene.orphan("first")
    await scene.advance(20 * SECOND)
    await scene.orphan("second")
    await scene.advance(10 * SECOND - 1)
    assert not scene.due.done()
    await scene.advance(1)
    assert [orphan.node for orphan in scene.due.result()] == ["first", "second"]


async def test_what_ends_after_all_is_forgotten() -> None:
    scene = Scene()
    await scene.orphan("first")
    await scene.advance(20 * SECOND)
    await scene.orphan("second")
    scene.dead.add("first")
    await scene.advance(29 * SECOND)
    assert not scene.due.done()
    scene.dead.add("second")
    await scene.advance(MINUTE)
    assert not scene.due.done()
    await scene.orphan("third")
    await scene.advance(30 * SECOND)
    assert [orphan.node for orphan in scene.due.result()] == ["third"]


async def test_it_waits_until_the_last_replacement_is_long_enough_ago() -> None:
    scene = Scene(last_at=-MINUTE)
    await scene.orphan("first")
    await scene.advance(4 * MINUTE - 1)
    assert not scene.due.done()
    await scene.advance(1)
    assert scene.due.done()
