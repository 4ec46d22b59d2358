"""The line to a pool process leaves nothing open, and closes nothing twice, when its start is broken off."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os

import pytest

from perdure.nodes.isolation.pool_process import _WorkerLine


@pytest.mark.parametrize("turns", range(1, 4))
async def test_a_connecting_that_is_broken_off_leaves_no_pipe(turns: int) -> None:
    its_orders, orders = os.pipe()
    answers, its_answers = os.pipe()
    line = _WorkerLine()
    opening = asyncio.create_task(line.open(orders, answers))
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await opening
    line.cut()
    await line.closed
    # Whoever reads the orders hears of it, and a file object that still thinks that it owns a descriptor complains now.
    assert await asyncio.to_thread(os.read, its_orders, 1) == b""
    gc.collect()
    for fd in (its_orders, its_answers):
        os.close(fd)
