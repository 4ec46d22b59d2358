"""A blocked event loop is told of, with the place."""

from __future__ import annotations

import asyncio
import threading

from perdure.engine.watchdog import Watchdog


async def test_the_place_that_blocks_the_loop_is_named() -> None:
    told: list[str] = []
    heard = threading.Event()

    def blocked(place: str) -> None:
        told.append(place)
        heard.set()

    watchdog = Watchdog(blocked=blocked, limit_s=0.1)
    watchdog.start()
    assert heard.wait(20), "this wait is what blocks the loop"
    await asyncio.sleep(0)
    watchdog.stop()
    assert "in wait" in told[0]
    assert watchdog.stretches == 1
