"""The rows that executions leave behind, for measuring how fast a database takes them without us.

They are written by our own statements into our own schema. What is missing is every decision, every intermediate
state and every answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.base.codec import encode_text
from perdure.base.ids import new_id
from perdure.model.event import Event, EventType
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.procedures.rows import node_run_row
from perdure.store.records import NodeRunRecord
from perdure.store.statements import Many, Procedure

_WORKSPACE, _NAMESPACE, _FLOW, _OTHERS = "default", "bench", "bench/one-step", 2


def put_executions(count: int, at: int, *, feed: tuple[int, int]) -> Procedure[None]:
    """The rows of that many one-step executions, from start to end; `feed` is (writer, n) of the commit."""
    ids = [new_id() for _ in range(count)]
    yield Many("executions_put", [_execution_row(id_, at) for id_ in ids])
    yield Many("payloads_put", [(id_, "{}", None, 2, None) for id_ in ids])
    yield Many("node_runs_put", [_run_row(id_, "step", at) for id_ in ids])
    yield Many("events_put", [chunk for id_ in ids for chunk in _execution_chunks(id_, at)])
    yield Many("feed_put", [_feed_row(feed, at, ids)])


def put_steps(ids: Sequence[bytes], at: int, *, feed: tuple[int, int]) -> Procedure[None]:
    """The rows of one more step of each of these executions, which need not be there."""
    n = feed[1]
    yield Many("node_runs_put", [_run_row(id_, f"step_{n:06d}", at) for id_ in ids])
    yield Many("events_put", [_chunk_row(id_, 2 * n, at, _step_events(at)) for id_ in ids])
    yield Many("feed_put", [_feed_row(feed, at, ids)])


def _execution_row(id_: bytes, at: int) -> tuple[Any, ...]:
    return (
        id_, _WORKSPACE, _NAMESPACE, _FLOW, 1, ExecutionStatus.COMPLETED, None,
        5, "default", "{}", "api", None, None,
        None, None, None, None, id_, 0,
        None, None, None, None, 5,
        None, 1, 6, 0, at, None,
        at, at, at, at, None, "flow", None, 1,
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


def _feed_row(feed: tuple[int, int], at: int, ids: Sequence[bytes]) -> tuple[Any, ...]:
    return (*feed, at, encode_text([(id_.hex(), 1, 2, _WORKSPACE) for id_ in ids]))
