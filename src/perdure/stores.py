"""The store that the settings name, opened, with what keeps the contents of artifacts beside it; and what commands ask
the databases themselves. Nobody else names one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from perdure.artifacts.interface import ArtifactStorage
from perdure.artifacts.local import LocalStorage
from perdure.artifacts.shared import SharedStorage
from perdure.base.clock import SECOND, Clock, SystemClock
from perdure.errors import StoreLocked
from perdure.settings import ServerSettings
from perdure.store.interface import Store
from perdure.store.postgres.blob_table import PostgresBlobTable
from perdure.store.postgres.examining import Examination, examine_database
from perdure.store.postgres.store import PostgresStore
from perdure.store.sqlite.connection import integrity_problems, refuse_unsafe_library, sqlite_version
from perdure.store.sqlite.store import SqliteStore

__all__ = [
    "Examination",
    "OpenStore",
    "examine_database",
    "integrity_problems",
    "opened_store",
    "refuse_unsafe_library",
    "sqlite_version",
]

RELOCK_US = 10 * SECOND
"""For how long a process that took another's place waits for the store to be free."""
RELOCK_PAUSE_S = 0.05


class OpenStore:
    """`artifacts` is where all who share the store keep contents; None where a folder is (`EngineSettings.artifacts`)."""

    def __init__(self, store: Store, *, artifacts: ArtifactStorage | None = None) -> None:
        self.store = store
        self.artifacts = artifacts

    @property
    def clock(self) -> Clock:
        """By which all times in the store are made and compared."""
        return SystemClock() if self.store.sharing is None else self.store.sharing.clock

    def set_url(self, url: str | None) -> None:
        """Where this process answers, for others that want the same store and cannot have it."""
        if isinstance(self.store, SqliteStore):
            self.store.set_url(url)


@contextlib.asynccontextmanager
async def opened_store(settings: ServerSettings, *, waits: Clock | None = None) -> AsyncIterator[OpenStore]:
    """Open until the context is left; the recorder must be closed before.

    `waits`: this process took another's place, and the store may be in somebody's hands for a moment; by that clock.
    Raises StoreLocked, StoreDamaged, StoreIncompatible, StoreUnavailable and the like.
    """
    url = settings.shared_store()
    if url is None:
        embedded = await _embedded(settings.store_path(), waits)
        try:
            yield OpenStore(embedded)
        finally:
            await embedded.close()
        return
    shared = await PostgresStore.open(url)
    try:
        if settings.artifacts is not None:
            yield OpenStore(shared)
            return
        table = PostgresBlobTable(shared.address)
        try:
            yield OpenStore(shared, artifacts=SharedStorage(LocalStorage(settings.home.resolve() / "artifacts"), table))
        finally:
            table.close()
    finally:
        await shared.close()


async def _embedded(path: Path, waits: Clock | None) -> SqliteStore:
    deadline = None if waits is None else waits.monotonic() + RELOCK_US
    while True:
        try:
            return await asyncio.to_thread(SqliteStore, path)
        except StoreLocked:
            # Somebody (`perdure token`) may have taken the lock between our predecessor's end and now.
            if waits is None or deadline is None or waits.monotonic() > deadline:
                raise
            await asyncio.sleep(RELOCK_PAUSE_S)
