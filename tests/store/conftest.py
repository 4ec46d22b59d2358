"""Every store that perdure has goes through the same conformance suite."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.store.interface import Store
from perdure.store.sqlite.store import SqliteStore
from tests.store.databases import fresh_store
from tests.store.world import World

IMPLEMENTATIONS: dict[str, Callable[[Path], Any]] = {
    "sqlite": lambda folder: SqliteStore(folder / "perdure.db"),
    "postgres": lambda folder: fresh_store(),
}


@pytest.fixture(params=IMPLEMENTATIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = IMPLEMENTATIONS[request.param](tmp_path)
    yield made
    asyncio.run(made.close())


@pytest.fixture
def world(store: Store) -> World:
    return World(store)
