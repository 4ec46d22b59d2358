"""Engines that are stopped when their test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from perdure.base.clock import Clock
from perdure.base.manual_clock import ManualClock
from tests.engine.opened import Bench, Opener, opened


@pytest.fixture
async def open_bench(tmp_path: Path) -> AsyncIterator[Opener]:
    """Open an engine: `await open_bench(clock=…, **settings)`; all are stopped at the end of the test."""
    async with AsyncExitStack() as stack:

        async def open_one(clock: Clock | None = None, **more: Any) -> Bench:
            return await stack.enter_async_context(opened(tmp_path, clock or ManualClock(), **more))

        yield open_one
