"""The real server in this process on a home of its own: one for a module's tests, or one for a test that breaks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from perdure.server import Server
from tests.api.world import World, furnish, settings

Opened = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture(scope="module")
def open_world(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Starts a furnished server; settings by name change its own."""

    @asynccontextmanager
    async def opened(home: Path | None = None, **more: Any) -> AsyncIterator[World]:
        home = home or tmp_path_factory.mktemp("home")
        async with Server(settings(home, **more)) as server, httpx2.AsyncClient(base_url=server.url) as http:
            world = World(server, http)
            await furnish(world)
            yield world

    return opened


@pytest.fixture(scope="module")
async def world(open_world: Opened) -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened
