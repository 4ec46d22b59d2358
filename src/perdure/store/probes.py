"""What SQLite does here without us: the raw limits that `perdure bench` sets beside its figures.

The rows are those that executions leave behind, in our own schema and by our own statements, with
the settings of our store (WAL, `synchronous=FULL`). What is missing is every decision, every
intermediate state and every answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import apsw

from perdure.base.clock import SystemClock
from perdure.base.codec import encode_text
from perdure.base.ids import new_id
from perdure.model.event import Event, EventType
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.procedures.rows import node_run_row
from perdure.store.records import NodeRunRecord
from perdure.store.sqlite.connection import open_reader, open_writer
from perdure.store.sqlite.migrate import migrate, migrations
from perdure.store.sqlite.runner import Runner
from perdure.store.statements import Many, Procedure, library

_WORKSPACE, _NAMESPACE, _FLOW, _OTHERS = "default", "bench", "bench/one-step", 2


def sqlite_version() -> str:
    """Of the library that perdure uses, which is not Python's own."""
    return apsw.sqlite_lib_version()


def commit_latencies(path: Path, *, seconds: float) -> list[float]:
    """Microseconds that durable transactions of one row took, one after the other; the file is made."""
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


def executions_per_second(path: Path, *, batch: int, seconds: float) -> float:
    """How fast the rows of whole one-step executions are inserted, `batch` executions in a durable transaction."""
    numbers = count(1)

    def write(at: int) -> Procedure[None]:
        ids = [new_id() for _ in range(batch)]
        yield Many("executions_put", [_execution_row(id_, at) for id_ in ids])
        yield Many("payloads_put", [(id_, "{}", None, 2) for id_ in ids])
        yield Many("node_runs_put", [_run_row(id_, "step", at) for id_ in ids])
        yield Many("events_put", [chunk for id_ in ids for chunk in _execution_chunks(id_, at)])
        yield Many("feed_put", [_feed_row(next(numbers), at, ids)])

    return _transactions_per_second(path, write, seconds) * batch


def steps_per_second(path: Path, *, batch: int, seconds: float) -> float:
    """How fast the rows of single steps are inserted, `batch` steps of as many executions in a durable transaction."""
    ids = sorted(new_id() for _ in range(batch))
    numbers = count(1)

    def write(at: int) -> Procedure[None]:
        n = next(numbers)
        yield Many("node_runs_put", [_run_row(id_, f"step_{n:06d}", at) for id_ in ids])
        yield Many("events_put", [_chunk_row(id_, 2 * n, at, _step_events(at)) for id_ in ids])
        yield Many("feed_put", [_feed_row(n, at, ids)])

    return _transactions_per_second(path, write, seconds) * batch


def newest_latencies(path: Path, *, rows: int, rounds: int) -> list[float]:
    """Microseconds of reading the newest executions of a store as bare rows."""
    connection = open_reader(path)
    latencies = []
    for _ in range(rounds):
        began = time.perf_counter()
        connection.execute("SELECT * FROM executions ORDER BY number DESC LIMIT ?", (rows,)).fetchall()
        latencies.append((time.perf_counter() - began) * 1e6)
    connection.close()
    return latencies


def _transactions_per_second(path: Path, write: Callable[[int], Procedure[None]], seconds: float) -> float:
    """In a fresh store; the first transaction does not count."""
    connection = open_writer(path)
    migrate(connection, path, migrations())
    runner = Runner(connection, library("sqlite"), path)
    now = SystemClock().now

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        runner.run(write(now()))
        connection.execute("COMMIT")

    commit()
    done, elapsed, began = 0, 0.0, time.perf_counter()
    while elapsed < seconds:
        commit()
        done += 1
        elapsed = time.perf_counter() - began
    connection.close()
    return done / elapsed


def _execution_row(id_: bytes, at: int) -> tuple[Any, ...]:
    return (
        id_, _WORKSPACE, _NAMESPACE, _FLOW, 1, ExecutionStatus.COMPLETED, None,
        5, "default", "{}", "api", None, None,
        None, None, None, None, id_, 0,
        None, None, None, None, 5,
        None, 1, 6, 0, at, None,
        at, at, at, at, None,
    )  # fmt: skip


def _run_row(id_: bytes, node: str, at: int) -> tuple[Any, ...]:
    run = NodeRunRecord(node=node, type="python", status=NodeStatus.COMPLETED, started_at=at, finished_at=at)
    return node_run_row(id_, run)


def _step_events(at: int) -> list[Event]:
    return [
        Event(EventType.NODE_COMPLETED, at, "step", 0, 1),
        Event(EventType.NODE_STARTED, at, "step", 0, 1),
    ]


def _execution_chunks(id_: bytes, at: int) -> list[tuple[Any, ...]]:
    """As the engine writes them: the start, the step, the end."""
    data = {"flow": _FLOW, "flow_version": 1, "trigger": "api", "number": 1}
    created = [Event(EventType.EXECUTION_CREATED, at, data=data), Event(EventType.EXECUTION_STARTED, at)]
    return [
        _chunk_row(id_, 1, at, created),
        _chunk_row(id_, 3, at, _step_events(at)),
        _chunk_row(id_, 5, at, [Event(EventType.EXECUTION_COMPLETED, at)]),
    ]


def _chunk_row(id_: bytes, seq: int, at: int, events: list[Event]) -> tuple[Any, ...]:
    return (id_, seq, seq + len(events) - 1, at, _OTHERS, encode_text(events))


def _feed_row(n: int, at: int, ids: list[bytes]) -> tuple[Any, ...]:
    return (1, n, at, encode_text([(id_.hex(), 1, 2, _WORKSPACE) for id_ in ids]))
