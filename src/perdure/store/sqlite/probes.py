"""What SQLite does here without us, with the settings of our store (WAL, `synchronous=FULL`): see `Probes`."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

from perdure.base.clock import SystemClock
from perdure.base.ids import new_id
from perdure.store.probe_rows import put_executions, put_steps
from perdure.store.seeding import Drawing, Told
from perdure.store.sqlite.connection import open_reader, open_writer, sqlite_version
from perdure.store.sqlite.migrate import migrate, migrations
from perdure.store.sqlite.runner import Runner
from perdure.store.sqlite.seed import seed_history
from perdure.store.statements import Procedure, library

_WRITER = 1


class SqliteProbes:
    """`perdure.store.probes.Probes` in a folder; measuring blocks the loop, which has nothing else to do."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.about = f"SQLite {sqlite_version()}"
        self._folder = folder

    @asynccontextmanager
    async def fresh(self, home: Path) -> AsyncIterator[str]:
        """It goes with its home."""
        yield f"sqlite:{home / 'perdure.db'}"

    async def commit_latencies(self, *, seconds: float) -> list[float]:
        with self._file() as path:
            connection = open_writer(path)
            connection.execute("CREATE TABLE probe (n INTEGER PRIMARY KEY, text TEXT)")
            latencies: list[float] = []
            began = time.perf_counter()
            until = began + seconds
            while began < until:
                connection.execute("INSERT INTO probe (text) VALUES ('a row')")
                ended = time.perf_counter()
                latencies.append((ended - began) * 1e6)
                began = ended
            connection.close()
        return latencies

    async def executions_per_second(self, *, batch: int, seconds: float) -> float:
        return batch * self._per_second(lambda n, at: put_executions(batch, at, feed=(_WRITER, n)), seconds)

    async def steps_per_second(self, *, batch: int, seconds: float) -> float:
        ids = sorted(new_id() for _ in range(batch))
        return batch * self._per_second(lambda n, at: put_steps(ids, at, feed=(_WRITER, n)), seconds)

    async def seed_history(self, url: str, drawing: Drawing, *, told: Told) -> None:
        await asyncio.to_thread(seed_history, _path(url), drawing, told=told)

    async def newest_latencies(self, url: str, *, rows: int, rounds: int) -> list[float]:
        connection = open_reader(_path(url))
        latencies = []
        for _ in range(rounds):
            began = time.perf_counter()
            connection.execute("SELECT * FROM executions ORDER BY number DESC LIMIT ?", (rows,)).fetchall()
            latencies.append((time.perf_counter() - began) * 1e6)
        connection.close()
        return latencies

    async def activity(self, stir: Callable[[], Awaitable[object]]) -> None:
        """SQLite counts nothing, and has no transactions but ours."""

    @contextmanager
    def _file(self) -> Iterator[Path]:
        folder = Path(mkdtemp(prefix="raw-", dir=self._folder))
        try:
            yield folder / "raw.db"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _per_second(self, write: Callable[[int, int], Procedure[None]], seconds: float) -> float:
        """Transactions of `write` (its number, the time) in a fresh store; the first does not count."""
        now = SystemClock().now
        numbers = count(1)
        with self._file() as path:
            connection = open_writer(path)
            migrate(connection, path, migrations())
            runner = Runner(connection, library("sqlite"), path)

            def commit() -> None:
                connection.execute("BEGIN IMMEDIATE")
                runner.run(write(next(numbers), now()))
                connection.execute("COMMIT")

            commit()
            done, elapsed, began = 0, 0.0, time.perf_counter()
            while elapsed < seconds:
                commit()
                done += 1
                elapsed = time.perf_counter() - began
            connection.close()
        return done / elapsed


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:"))
