"""Running a flow again from a fixture: recorded results stand in for nodes, so that nothing happens outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar

import msgspec

from perdure.base.codec import Json
from perdure.model.differences import Difference, differences
from perdure.model.execution import COMPENSATE
from perdure.model.failure import Failure
from perdure.model.states import NodeStatus
from perdure.nodes.interface import Call, NodeFailed
from perdure.wire.fixtures import Fixture, FixtureRun

REALLY_RUN = frozenset({"transform", "fail"})
"""Node types without side effects: they are what a rehearsal tests, besides the graph and its expressions."""
_STOPPED = frozenset({NodeStatus.TIMED_OUT, NodeStatus.ORPHANED, NodeStatus.CANCELLED})


class What(StrEnum):
    """What differs: of the execution `outcome` and `output`; of a node run the others. `missing` ran in the fixture
    alone, `extra` in the rehearsal alone."""

    OUTCOME = "outcome"
    STATUS = "status"
    INPUT = "input"
    OUTPUT = "output"
    ERROR = "error"
    MISSING = "missing"
    EXTRA = "extra"


class FixtureDifference(msgspec.Struct, frozen=True, kw_only=True):
    """`node` is None for the execution itself; `pointer` is a JSON pointer into the value that differs."""

    what: What
    node: str | None = None
    ordinal: int | None = None
    label: str = ""
    pointer: str = ""
    before: Json = None
    after: Json = None


class StandIn:
    """Answers for every node that it is asked to run with what the fixture recorded of it."""

    name: ClassVar[str] = "stand_in"
    control: ClassVar[bool] = False
    config_schema: ClassVar[dict[str, Any]] = {}
    examples: ClassVar[list[Any]] = []

    def __init__(self, fixture: Fixture) -> None:
        self._runs = by_key(fixture.runs)

    async def run(self, call: Call) -> Json:
        """The recorded output. Raises `NodeFailed` with the recorded error, or because nothing was recorded."""
        recorded = self._runs.get(_key(call.node, call.ordinal, call.label))
        if recorded is None or recorded.status == NodeStatus.SKIPPED:
            message = f"the fixture has no result of {call.node}{f'[{call.ordinal}]' if call.ordinal else ''}"
            raise NodeFailed(Failure(code="fixture_missing", message=message, retryable=False))
        if recorded.status == NodeStatus.COMPLETED:
            return recorded.output
        error = recorded.error
        code, message = ("node_failed", f"it was {recorded.status}") if error is None else (error.code, error.message)
        details = None if error is None else error.details
        raise NodeFailed(Failure(code=code, message=message, details=details, retryable=False))


Key = tuple[str, object]


def by_key(runs: Iterable[FixtureRun]) -> dict[Key, FixtureRun]:
    """Items by their key where they have one, else by their place."""
    return {_key(run.node, run.ordinal, run.label): run for run in runs}


def compared(fixture: Fixture, runs: Iterable[FixtureRun], outcome: Mapping[str, Json]) -> list[FixtureDifference]:
    """How a rehearsal differs from its fixture.

    `outcome` is `{status, output, error}` of the rehearsal's execution, the error as its code and message.
    """
    found = []
    before = {"status": fixture.execution.status, "error": None if fixture.error is None else fixture.error.code}
    after = {"status": outcome["status"], "error": None if outcome["error"] is None else outcome["error"]["code"]}
    found += [_told(What.OUTCOME, one) for one in differences(before, after)[0]]
    found += [_told(What.OUTPUT, one) for one in differences(fixture.output, outcome["output"])[0]]
    recorded, now = by_key(fixture.runs), by_key(runs)
    for key, run in recorded.items():
        if key in now:
            found += _compared_run(run, now[key])
        elif run.status != NodeStatus.SKIPPED:
            found.append(FixtureDifference(what=What.MISSING, node=run.node, ordinal=run.ordinal, label=run.label))
    found += [
        FixtureDifference(what=What.EXTRA, node=run.node, ordinal=run.ordinal, label=run.label)
        for key, run in now.items()
        if key not in recorded and run.status != NodeStatus.SKIPPED
    ]
    return found


def _compared_run(before: FixtureRun, after: FixtureRun) -> list[FixtureDifference]:
    pairs: list[tuple[What, Json, Json]] = [(What.STATUS, _ended_as(before), _ended_as(after))]
    # What control nodes were called with is not recorded everywhere; a transform's call is its output.
    if before.input is not None and before.type != "transform":
        pairs.append((What.INPUT, before.input, after.input))
    pairs.append((What.OUTPUT, before.output, after.output))
    pairs.append((What.ERROR, _code(before), _code(after)))
    return [_told(what, one, after) for what, old, new in pairs for one in differences(old, new)[0]]


def _told(what: What, one: Difference, run: FixtureRun | None = None) -> FixtureDifference:
    place = {} if run is None else {"node": run.node, "ordinal": run.ordinal, "label": run.label}
    return FixtureDifference(what=what, pointer=one.pointer, before=one.before, after=one.after, **place)  # type: ignore[arg-type]


def _ended_as(run: FixtureRun) -> str:
    """A stand-in cannot time out or be killed: it fails with the error of one that was."""
    return NodeStatus.FAILED if run.status in _STOPPED else run.status


def _code(run: FixtureRun) -> str | None:
    return None if run.error is None else run.error.code


def _key(node: str, ordinal: int, label: str) -> Key:
    return (node, (ordinal, label)) if not label or label == COMPENSATE else (node, label)
