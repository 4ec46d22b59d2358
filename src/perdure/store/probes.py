"""What `perdure bench` measures a database by: stores that it makes and throws away, and what the database does
without us, the raw limits that stand beside its figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from perdure.errors import InvalidSettings
from perdure.store.activity import Activity
from perdure.store.postgres import seed as postgres_seed
from perdure.store.postgres.probes import open_postgres_probes
from perdure.store.seeding import Drawing, Told
from perdure.store.sqlite import seed as sqlite_seed
from perdure.store.sqlite.probes import SqliteProbes


class Probes(Protocol):
    """One database. A store is named by its URL, as `perdure serve --store` takes it."""

    kind: str
    """`sqlite` or `postgresql`."""
    about: str
    """The database, its version and the settings that its speed depends on, in a few words."""

    def fresh(self, home: Path) -> AbstractAsyncContextManager[str]:
        """The URL of a store that holds nothing; it is gone afterwards. `home` is where a store of files has them."""
        ...

    async def commit_latencies(self, *, seconds: float) -> list[float]:
        """Microseconds that durable transactions of one row took, one after the other."""
        ...

    async def executions_per_second(self, *, batch: int, seconds: float) -> float:
        """How fast the rows of whole one-step executions are inserted, `batch` executions in a durable transaction."""
        ...

    async def steps_per_second(self, *, batch: int, seconds: float) -> float:
        """How fast the rows of steps are inserted, `batch` steps of as many executions in a durable transaction."""
        ...

    async def seed_history(self, url: str, drawing: Drawing, *, told: Told) -> None:
        """Write that many ended executions into a store that nobody has open.

        `told` is called with the number of executions written so far.
        """
        ...

    async def newest_latencies(self, url: str, *, rows: int, rounds: int) -> list[float]:
        """Microseconds of reading the newest executions of a store as bare rows."""
        ...

    async def activity(self, stir: Callable[[], Awaitable[object]]) -> Activity | None:
        """What the database has done so far; None where only we would know.

        `stir` makes the session whose work is to be counted do a little more: only then does it tell of all before.
        """
        ...


@asynccontextmanager
async def open_probes(url: str | None, folder: Path) -> AsyncIterator[Probes]:
    """Probes of the PostgreSQL database at `url`, or else of SQLite in a folder on the disk to be measured.

    Raises:
        InvalidSettings: the URL is not a PostgreSQL database's, or a store lives there.
        StoreUnavailable, StoreIncompatible: as opening a store does.
    """
    if url is None:
        yield SqliteProbes(folder)
    else:
        async with open_postgres_probes(url) as probes:
            yield probes


async def seed_store(place: Path | str, drawing: Drawing, *, told: Told, adds: bool) -> None:
    """Write a history into a SQLite file, or into the PostgreSQL store of that URL, which is made where there is none.

    `told` is called with the number of executions written so far.

    Raises:
        InvalidSettings: executions stand there already, and it is not to be added to them (`adds`).
        StoreLocked: a process owns the file.
        StoreUnavailable and the like: as opening a store does.
    """
    unused = sqlite_seed.is_unused(place) if isinstance(place, Path) else await postgres_seed.is_unused(place)
    if not unused and not adds:
        raise InvalidSettings("executions stand in that store already; name another one, or add to them with --add")
    if isinstance(place, Path):
        await asyncio.to_thread(sqlite_seed.seed_history, place, drawing, told=told)
    else:
        await postgres_seed.seed_history(place, drawing, told=told)
