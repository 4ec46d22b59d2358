"""What a replay takes over and what it runs, and what comes of it."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.model.decide import lifecycle
from perdure.model.definition import Flow, OnItemError, RunIf
from perdure.model.execution import NodeRun
from perdure.model.recorded import Recorded, RecordedRun
from perdure.model.replay import (
    FAILED,
    Edits,
    PlannedNode,
    Reach,
    Reason,
    changed_nodes,
    failures,
    may_keep_items,
    plan_replay,
)
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.model.drive import UNREADABLE, Drive, node, undo
from tests.model.oracle import expect
from tests.model.scenario import Scenario, random_scenario
from tests.model.simulation import World
from tests.model.test_lives import live

lives = st.integers(0, 2**48).map(Random)
_BAD = {NodeStatus.FAILED, NodeStatus.TIMED_OUT, NodeStatus.CANCELLED, NodeStatus.ORPHANED}


def recorded(rows: Collection[NodeRun], *, status: ExecutionStatus) -> Recorded:
    return Recorded(
        (
            RecordedRun(row.node, row.ordinal, row.label, row.status, row.attempt, row.error is not None)
            for row in rows
            if row.status is not None
        ),
        completed=status is ExecutionStatus.COMPLETED,
        settled=status in (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED),
    )


def plan_of(drive: Drive, **more: Any) -> dict[str, PlannedNode]:
    return plan_replay(drive.flow, recorded(drive.rows.values(), status=drive.status), **more)


def reasons(drive: Drive, **more: Any) -> dict[str, str]:
    return {name: str(one.reason) for name, one in plan_of(drive, **more).items()}


def taken_rows(rows: dict[Any, NodeRun], planned: dict[str, PlannedNode]) -> list[NodeRun]:
    taken = []
    for one in (one for plan in planned.values() for one in plan.taken):
        run = copy.copy(rows[one.run.node, one.run.ordinal, one.run.label])
        run.reused_from = b"original"
        taken.append(run)
    return taken


def replay(drive: Drive, **more: Any) -> Drive:
    """The replay of an ended drive, begun."""
    planned = plan_of(drive, **more)
    after = Drive(*drive.flow.nodes.values(), items=drive.items, when=drive.when, labels=drive.labels, begin=False)
    taken = taken_rows(drive.rows, planned)
    after.rows = {run.key: run for run in taken}
    whole = [name for name, one in planned.items() if one.whole and after.state.nodes[name].repeated]
    return after.feed(lifecycle.resumed(after.state, taken, after.now, whole=whole))


CHAIN = (node("a"), node("b", "a"), node("c", "b"), node("x"))


def test_a_retry_begins_with_what_failed() -> None:
    drive = Drive(*CHAIN).ok("a").fail("b").ok("x")
    assert reasons(drive, begin=FAILED) == {"a": "recorded", "x": "recorded", "b": "failed", "c": "depends"}
    after = replay(drive, begin=FAILED)
    assert after.begun == ["b"]
    assert after.ok("b").ok("c").status is ExecutionStatus.COMPLETED


def test_what_was_cancelled_or_never_began_runs_in_a_retry() -> None:
    drive = Drive(*CHAIN).ok("a").cancel().killed("b").killed("x")
    assert reasons(drive, begin=FAILED) == {"a": "recorded", "x": "not_finished", "b": "not_finished", "c": "depends"}


def test_from_the_start_nothing_is_taken_over() -> None:
    drive = Drive(*CHAIN).ok("a").ok("x").ok("b").ok("c")
    assert set(reasons(drive).values()) == {"from_start"}


def test_from_a_node_only_it_and_what_follows_runs() -> None:
    drive = Drive(*CHAIN).ok("a").ok("x").ok("b").ok("c")
    assert reasons(drive, begin=["b"]) == {"a": "recorded", "x": "recorded", "b": "asked", "c": "depends"}
    assert reasons(drive, begin=["b"], reach=Reach.ANCESTORS)["x"] == "not_an_ancestor"


def test_a_failure_elsewhere_runs_again_whatever_it_begins_with() -> None:
    drive = Drive(*CHAIN).ok("a").fail("x").ok("b").ok("c")
    assert reasons(drive, begin=["c"])["x"] == "failed"


def test_behind_an_edited_output_everything_runs_but_itself() -> None:
    drive = Drive(*CHAIN).ok("a").fail("b").ok("x")
    assert reasons(drive, edits=Edits(outputs={"b"})) == {
        "a": "recorded",
        "x": "recorded",
        "b": "edited",
        "c": "depends",
    }


def test_a_handled_failure_is_taken_over_with_its_handler() -> None:
    drive = Drive(node("a"), node("rescue", "a", run_if=RunIf.FAILED), node("x")).fail("a").ok("rescue").ok("x")
    assert drive.status is ExecutionStatus.COMPLETED
    assert reasons(drive, begin=["x"]) == {"a": "recorded", "rescue": "recorded", "x": "asked"}
    after = replay(drive, begin=["x"])
    assert after.begun == ["x"]
    assert after.ok("x").status is ExecutionStatus.COMPLETED
    assert after.outcome("a") is NodeStatus.FAILED


def test_the_retry_of_a_completed_execution_tries_handled_failures_again() -> None:
    drive = Drive(node("a"), node("rescue", "a", run_if=RunIf.FAILED), node("x")).fail("a").ok("rescue").ok("x")
    assert reasons(drive, begin=FAILED) == {"a": "failed", "rescue": "depends", "x": "recorded"}
    assert replay(drive, begin=FAILED).ok("a").outcome("rescue") is NodeStatus.SKIPPED


def test_a_completed_execution_may_have_nothing_to_retry() -> None:
    drive = Drive(*CHAIN).ok("a").ok("x").ok("b").ok("c")
    assert failures(drive.flow, recorded(drive.rows.values(), status=drive.status)) == []


def test_what_was_undone_runs_again() -> None:
    drive = Drive(node("a", compensate=undo()), node("b", "a"), node("x")).ok("a").ok("x").fail("b").undone("a")
    assert drive.status is ExecutionStatus.FAILED
    assert reasons(drive, begin=FAILED) == {"a": "undone", "b": "depends", "x": "recorded"}


def test_a_replay_undoes_only_what_it_did_itself() -> None:
    parts = (node("a", compensate=undo()), node("b", "a", compensate=undo()), node("c", "b"))
    drive = Drive(*parts).ok("a").ok("b").ok("c")
    after = replay(drive, begin=["b"]).ok("b").fail("c")
    assert after.begun == ["b", "c", "undo b"]
    assert after.undone("b").status is ExecutionStatus.FAILED


def test_a_foreach_keeps_the_results_of_its_items() -> None:
    drive = Drive(node("a", foreach="x", parallel=2), node("b", "a"), items={"a": 4}).ok("a", 0, output=5).fail("a", 1)
    drive.ok("a", 2, output=7)
    after = replay(drive, begin=FAILED)
    assert after.begun == ["a#1", "a#3"]
    after.ok("a", 1, output=6).ok("a", 3, output=8)
    assert after.state.nodes["a"].output == [5, 6, 7, 8]
    assert after.ok("b").status is ExecutionStatus.COMPLETED


def test_items_of_a_foreach_that_is_taken_over_whole_are_not_told_anew() -> None:
    drive = Drive(node("a", foreach="x"), node("b", "a"), items={"a": 2}).ok("a", 0, output=1).ok("a", 1, output=2)
    drive.ok("b").items = {"a": UNREADABLE}
    after = replay(drive, begin=["b"])
    assert (after.prepared, after.begun) == (["b"], ["b"])
    assert after.state.nodes["a"].output == [1, 2]


def test_a_foreach_over_nothing_is_taken_over() -> None:
    drive = Drive(node("a", foreach="x"), node("b", "a"), items={"a": 0}).ok("b")
    after = replay(drive, begin=["b"])
    assert after.state.nodes["a"].output == []
    assert after.begun == ["b"]


def test_failed_items_that_were_let_pass_run_when_a_completed_execution_is_retried() -> None:
    parts = (node("a", foreach="x", on_item_error=OnItemError.NULL), node("b", "a"))
    drive = Drive(*parts, items={"a": 2}).fail("a", 0).ok("a", 1).ok("b")
    assert reasons(drive, begin=["b"]) == {"a": "recorded", "b": "asked"}
    assert replay(drive, begin=["b"]).begun == ["b"]
    assert replay(drive, begin=FAILED).begun == ["a"]


def test_a_foreach_that_could_not_be_told_is_told_anew() -> None:
    parts = (node("a", foreach="x", on_item_error=OnItemError.NULL), node("b", "a"))
    drive = Drive(*parts, items={"a": UNREADABLE})
    assert reasons(drive, begin=FAILED) == {"a": "failed", "b": "depends"}
    drive.items = {"a": 1}
    assert replay(drive, begin=FAILED).ok("a").ok("b").status is ExecutionStatus.COMPLETED


def test_a_handled_foreach_that_could_not_be_told_stays_failed() -> None:
    rescue = node("rescue", "a", run_if=RunIf.FAILED)
    tolerant = node("a", foreach="x", on_item_error=OnItemError.NULL)
    drive = Drive(tolerant, rescue, node("x"), items={"a": UNREADABLE}).ok("rescue").ok("x")
    assert drive.status is ExecutionStatus.COMPLETED
    after = replay(drive, begin=["x"])
    assert after.outcome("a") is NodeStatus.FAILED
    assert after.ok("x").status is ExecutionStatus.COMPLETED


def test_what_was_left_out_while_cleaning_up_was_not_decided() -> None:
    drive = Drive(node("a"), node("clean", "a", run_if=RunIf.ALWAYS)).cancel(force=True).killed("a")
    assert reasons(drive, begin=FAILED) == {"a": "not_finished", "clean": "not_finished"} | {"clean": "depends"}
    assert replay(drive, begin=FAILED).ok("a").begun == ["a", "clean"]


def test_a_skip_is_taken_over_without_asking_its_condition_again() -> None:
    drive = Drive(node("a"), node("b", "a"), node("x"), when={"b": False}).ok("a").ok("x")
    drive.when = {}
    after = replay(drive, begin=["x"]).ok("x")
    assert after.begun == ["x"]
    assert after.outcome("b") is NodeStatus.SKIPPED


def test_an_output_that_could_not_be_told_leaves_nothing_to_run() -> None:
    drive = Drive(node("a"), output=UNREADABLE).ok("a")
    assert reasons(drive, begin=FAILED) == {"a": "recorded"}
    assert replay(drive, begin=FAILED).status is ExecutionStatus.COMPLETED


def test_a_new_version_runs_what_it_changed_and_added() -> None:
    drive = Drive(node("a"), node("b", "a"), node("x")).ok("a").ok("x").ok("b")
    other = [
        node("a", retry=msgspec.structs.replace(drive.flow.nodes["a"].retry, attempts=9)),
        msgspec.structs.replace(drive.flow.nodes["b"], config={"other": 1}),
        node("x"),
        node("n", "x"),
    ]
    flow = Flow("default/driven", {spec.id: spec for spec in other})
    edits = changed_nodes(drive.flow, flow)
    assert (set(edits.changed), set(edits.added)) == ({"b"}, {"n"})
    planned = plan_replay(flow, recorded(drive.rows.values(), status=drive.status), begin=FAILED, edits=edits)
    assert {name: str(one.reason) for name, one in planned.items()} == {
        "a": "recorded", "x": "recorded", "b": "definition_changed", "n": "new_node",
    }  # fmt: skip


@pytest.mark.parametrize("begin", [None, FAILED])
def test_items_may_be_kept_only_behind_what_is_known(begin: str | None) -> None:
    parts = (node("a"), node("f", "a", foreach="x"), node("g", "f", foreach="x"))
    drive = Drive(*parts, items={"f": 1, "g": 1}).ok("a").ok("f").ok("g")
    edits = Edits(outputs={"a"})
    assert may_keep_items(drive.flow, plan_of(drive, begin=begin, edits=edits), edits) == ["f"]


def ended_world(rng: Random, scenario: Scenario) -> World:
    return live(rng, scenario, crashes=rng.randint(0, 2), cancels=rng.randint(0, 1))


def drawn_plan(rng: Random, world: World) -> tuple[dict[str, PlannedNode], Edits, Any]:
    flow = world.scenario.flow
    begin: Any = rng.choice([None, FAILED, FAILED, rng.sample([*flow.nodes], rng.randint(1, len(flow.nodes)))])
    outputs = {name for name in flow.nodes if rng.random() < 0.15 and name not in (begin or ())}
    edits = Edits(outputs=outputs, changed={name for name in flow.nodes if rng.random() < 0.1})
    found = recorded(world.ledger.rows.values(), status=world.ledger.status)
    return plan_replay(flow, found, begin=begin, edits=edits, reach=rng.choice([*Reach])), edits, begin


@settings(max_examples=700)
@given(lives)
def test_what_is_taken_over_never_depends_on_what_runs_or_was_edited(rng: Random) -> None:
    world = ended_world(rng, random_scenario(rng))
    planned, edits, begin = drawn_plan(rng, world)
    nodes = world.scenario.flow.nodes
    assert planned.keys() == nodes.keys()
    for name, one in planned.items():
        if isinstance(begin, list) and name in begin:
            assert one.reason is Reason.ASKED
        if one.reason is Reason.EDITED:
            assert not one.taken
            continue
        depends = any(planned[need].runs or need in edits.outputs for need in nodes[name].needs)
        assert not (one.taken and depends), one
        for taken in one.taken:
            assert taken.run.label != "compensate"
            assert taken.run.status is not NodeStatus.CANCELLED
            assert (name, taken.run.ordinal, "compensate") not in world.ledger.rows or (
                world.ledger.rows[name, taken.run.ordinal, "compensate"].status is NodeStatus.SKIPPED
            )
        if one.runs:
            assert all(taken.run.status is NodeStatus.COMPLETED for taken in one.taken) or not one.whole


def mended(scenario: Scenario, planned: dict[str, PlannedNode]) -> Scenario:
    """Whatever runs goes well this time, but for items beside failed ones that were let pass, and stay so."""
    again = {name for name, one in planned.items() if one.runs and not any(t.run.status in _BAD for t in one.taken)}
    outcomes = {key: ("ok",) if key[0] in again else outcome for key, outcome in scenario.outcomes.items()}
    return replace(scenario, outcomes=outcomes, output_fails=False)


@settings(max_examples=700)
@given(lives)
def test_a_replay_comes_to_what_a_run_from_the_start_would_come_to(rng: Random) -> None:
    world = live(rng, random_scenario(rng, stable=True), crashes=rng.randint(0, 2), cancels=rng.randint(0, 1))
    flow = world.scenario.flow
    begin: Any = rng.choice([FAILED, FAILED, rng.sample([*flow.nodes], rng.randint(1, len(flow.nodes)))])
    found = recorded(world.ledger.rows.values(), status=world.ledger.status)
    planned = plan_replay(flow, found, begin=begin, reach=rng.choice([*Reach]))
    taken = taken_rows(world.ledger.rows, planned)
    whole = [
        name
        for name, one in planned.items()
        if one.whole and flow.nodes[name].foreach is not None and one.taken
        and one.taken[0].run.status is not NodeStatus.SKIPPED
    ]  # fmt: skip
    scenario = mended(world.scenario, planned)
    after = World(scenario, taken=taken, whole=whole) if taken else World(scenario)
    crashes = rng.randint(0, 3)
    while not after.ended and crashes:
        if rng.random() < 0.1 and after.owner is not None:
            crashes -= 1
            after.crash(committed=rng.random() < 0.5)
        else:
            after.step(rng)
    after.settle(rng)
    expected = expect(scenario)
    assert after.ledger.status is expected.status, (planned, expected)
    state = after.ended_state
    assert state is not None
    assert {name: one.outcome for name, one in state.nodes.items()} == expected.outcomes
    assert {name: one.output for name, one in state.nodes.items()} == expected.outputs
