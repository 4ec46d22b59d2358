"""Engines that are stopped when their test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from perdure.base.clock import Clock
from perdure.base.manual_clock import ManualClock
from tests.engine.arena import ROUNDS, Arena, engine_on
from tests.engine.opened import Bench, Opener, opened
from tests.store.databases import fresh_url


@pytest.fixture
async def open_bench(tmp_path: Path) -> AsyncIterator[Opener]:
    """Open an engine: `await open_bench(clock=…, **settings)`; all are stopped at the end of the test."""
    async with AsyncExitStack() as stack:

        async def open_one(clock: Clock | None = None, **more: Any) -> Bench:
            return await stack.enter_async_context(opened(tmp_path, clock or ManualClock(), **more))

        yield open_one


@pytest.fixture(params=["sqlite", "postgres"])
async def arena(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Arena]:
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            engines = [await stack.enter_async_context(engine_on(tmp_path, None))]
        else:
            url = fresh_url()
            engines = [await stack.enter_async_context(engine_on(tmp_path / name, url)) for name in "ab"]
        yield Arena(engines, rounds=ROUNDS, seed=len(request.node.name))
