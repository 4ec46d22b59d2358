"""What executions cost a real PostgreSQL: statements and rows by pg_stat_statements, bytes, and the backend's own time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from perdure.base.clock import MINUTE, SystemClock
from perdure.base.codec import encode
from perdure.engine.engine import Engine
from perdure.engine.requests import StartRequest
from perdure.engine.settings import EngineSettings
from perdure.model.states import ExecutionStatus
from perdure.store.commands import Command, ForgetKeys
from perdure.store.interface import BatchOutcome
from perdure.store.postgres.runner import Statements
from perdure.store.postgres.store import PostgresStore
from perdure.store.recorder import Recorder
from perdure.store.records import Started
from perdure.store.statements import library
from scripts.scale.model import OWNERS

WORKSPACE = "default"
SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "track_io_timing": True, "wal_level": "replica"}
"""That a server needs for this."""
STEPS = 10
"""Of the chain."""
ONE_STEP, CHAIN = "scale/one-step", "scale/chain"
_STEP = {"python": "perdure.bench.steps:noop"}
FLOWS = {
    ONE_STEP: {"id": ONE_STEP, "nodes": {"step": _STEP}, "output": "${input}"},
    CHAIN: {
        "id": CHAIN,
        "nodes": {f"step_{n}": _STEP | ({"needs": [f"step_{n - 1}"]} if n else {}) for n in range(STEPS)},
    },
}


class Measured(NamedTuple):
    """Of one run, in all. Times are the writing backend's own, in seconds.

    `round_trips` are those of the owners' transactions, in which the writer's mark goes with COMMIT. `calls` are by
    statement, also of those that went together; `written` are rows that were put, changed or dropped, by table.
    """

    executions: int
    batches: int
    transactions: int
    round_trips: int
    calls: Mapping[str, int]
    written: Mapping[str, int]
    heap_bytes: int
    index_bytes: int
    wal_bytes: int
    server_s: float

    @property
    def rows_written(self) -> int:
        return sum(self.written.values())


class House:
    """An engine on a PostgreSQL store, and a connection that looks on."""

    def __init__(self, engine: Engine, looking: Any) -> None:
        self.engine = engine
        self.looking = looking
        statements = Statements(library("postgres"))
        self._names = {_shape(part.sql): name for name, parts in statements.compiled.items() for part in parts}
        self._joining = {name for name, one in statements.traits.items() if one.is_plain}

    async def finish(self, flow: str) -> None:
        request = StartRequest(workspace=WORKSPACE, flow=flow, input={})
        [started] = await self.engine.start_executions([request])
        assert isinstance(started, Started), started
        assert await self.engine.wait_ended(
            WORKSPACE, started.id, MINUTE, is_fresh=started.status is ExecutionStatus.RUNNING
        )

    async def run(self, flow: str, *, executions: int, in_flight: int) -> Measured:
        """That many executions of the flow, so many at a time."""

        async def keep_going(count: int) -> None:
            for _ in range(count):
                await self.finish(flow)

        share = executions // in_flight
        return await self.measure(
            lambda: asyncio.gather(*(keep_going(share) for _ in range(in_flight))), executions=share * in_flight
        )

    async def measure(self, work: Callable[[], Awaitable[Any]], *, executions: int = 0) -> Measured:
        """What the work did to the database, with all that a checkpoint or the statistics have yet to tell."""
        await self.looking.execute("CHECKPOINT")
        await self.looking.execute("SELECT pg_stat_statements_reset()")
        written = await self._written()
        before, batches, time_before = await self._state(), self.engine.recorder.stats.batches, await self._server_s()
        await work()
        time_after = await self._server_s()
        rows = await self.looking.fetch(_SEEN)
        after = await self._state()
        calls: dict[str, int] = {}
        trips = 0
        for query, count in rows:
            names = self._named(query)
            trips += count if not OWNERS.isdisjoint(names) or query.startswith("BEGIN") else 0
            for name in names:
                calls[name] = calls.get(name, 0) + count
        return Measured(
            executions=executions,
            batches=self.engine.recorder.stats.batches - batches,
            transactions=calls.get("COMMIT", 0),
            round_trips=trips,
            calls=calls,
            written={table: count - written.get(table, 0) for table, count in (await self._written()).items()},
            heap_bytes=after["heap"] - before["heap"],
            index_bytes=after["indexes"] - before["indexes"],
            wal_bytes=after["wal"] - before["wal"],
            server_s=time_after - time_before,
        )

    def _named(self, query: str) -> list[str]:
        """Which of the statements went with that one; itself where it is none of them."""
        if known := self._names.get(_shape(query)):
            return [known]
        return [name for name in _PART.findall(query) if name in self._joining] or [query]

    async def cost(self, command: Callable[[], Command], *, times: int = 200) -> float:
        """Seconds of a core that one such command takes, alone in its transaction."""
        await self.engine.recorder.execute(command())
        before = await self._server_s()
        for _ in range(times):
            await self.engine.recorder.execute(command())
        return (await self._server_s() - before) / times

    async def beat_cost(self, *, times: int = 200) -> float:
        """Of a heartbeat, which has a connection of its own."""
        [part] = _compiled()["pulse"]
        await self.looking.execute("SET search_path = perdure")
        [pid] = await self.looking.fetchrow("SELECT pg_backend_pid()")
        before = core_s([pid])
        for _ in range(times):
            await self.looking.fetch(part.sql, self.engine.worker.id)
        return (core_s([pid]) - before) / times

    async def _written(self) -> dict[str, int]:
        """Rows that were written so far, by table.

        A backend tells them between transactions, once a second at most; that it told all is seen by the writer's marks.
        """
        marks = await self.looking.fetchval("SELECT (sum(commits) + count(*))::bigint FROM perdure.writers")
        while True:
            await self.engine.recorder.execute(ForgetKeys(at=0, before=0))
            found = {table: int(count) for table, count in await self.looking.fetch(_WRITTEN)}
            if found.get("writers", 0) >= marks:
                return found
            await asyncio.sleep(0.05)

    async def _state(self) -> dict[str, int]:
        return dict(await self.looking.fetchrow(_STATE))

    async def _server_s(self) -> float:
        """Time on a core that the writing backends had so far."""
        pids = await self.looking.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'perdure writer%'"
        )
        return core_s([row[0] for row in pids])


@asynccontextmanager
async def house(url: str, home: Path, **settings: Any) -> AsyncIterator[House]:
    """An engine on the store at that URL; its server must have been started with `SETTINGS`."""
    store = await PostgresStore.open(url)
    recorder = Recorder(store, listener=lambda outcome: _hear(engine, outcome))
    engine = Engine(
        store=store, recorder=recorder, clock=SystemClock(), settings=EngineSettings(home=home, **settings)
    )  # fmt: skip
    looking = await asyncpg.connect(url)
    try:
        await looking.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await engine.start()
        for document in FLOWS.values():
            await engine.catalog.put(WORKSPACE, encode(document), media_type="application/json")
        yield House(engine, looking)
    finally:
        await engine.stop()
        await looking.close()
        await store.close()


def core_s(pids: Sequence[int]) -> float:
    """Time on a core that these backends had so far."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def _hear(engine: Engine, outcome: BatchOutcome) -> None:
    engine.on_batch(outcome)


def _compiled() -> dict[str, list[Any]]:
    return Statements(library("postgres")).compiled


def _shape(sql: str) -> str:
    """A statement without what pg_stat_statements replaces, constants, and without spaces."""
    bare = re.sub(r"'[^']*'|\$\d+(::[a-z]+\[\])?|\b\d+\b|\bEPOCH\b", "?", sql)
    return re.sub(r"\s+", "", bare).lower().rstrip(";")


_SEEN = """
SELECT query, calls FROM pg_stat_statements AS s JOIN pg_roles AS r ON r.oid = s.userid
WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
AND query NOT LIKE '%pg_stat%' AND query NOT LIKE '%pg_relation_size%' AND query <> 'CHECKPOINT'
"""
_PART = re.compile(r"\b(\w+) AS \(")
_WRITTEN = """
SELECT coalesce(p.relname, s.relname)::text, sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del)
FROM pg_stat_all_tables AS s
LEFT JOIN pg_inherits AS i ON i.inhrelid = s.relid
LEFT JOIN pg_class AS p ON p.oid = i.inhparent
WHERE s.schemaname = 'perdure'
GROUP BY 1
"""
_STATE = """
SELECT
    sum(pg_table_size(c.oid))::bigint AS heap,
    sum(pg_indexes_size(c.oid))::bigint AS indexes,
    pg_current_wal_lsn() - '0/0'::pg_lsn AS wal
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'perdure' AND c.relkind = 'r'
"""
