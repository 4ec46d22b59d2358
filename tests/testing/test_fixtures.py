"""Executions as fixtures: exported, and run again without the side effects of their nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure.base.codec import encode
from perdure.errors import InvalidFlow, MalformedDocument
from perdure.testing import load_fixture, run_fixture, run_fixture_async
from perdure.wire.fixtures import Fixture, FixtureRun
from tests.api.conftest import open_world, world
from tests.api.world import World

__all__ = ["open_world", "world"]

FLOW: dict[str, Any] = {
    "id": "fixtures/whole",
    "input": {"folder": {"type": "string"}, "names": {"type": "array"}},
    "nodes": {
        "list": {"shell": 'echo ran >> "$DIR/ran"; echo "[1, 2]"', "env": {"DIR": "${input.folder}"}},
        "each": {
            "shell": 'echo ran >> "$DIR/ran"; test "$NAME" = good',
            "foreach": "${input.names}",
            "key": "${item}",
            "on_item_error": "null",
            "env": {"DIR": "${input.folder}", "NAME": "${item}"},
            "with": {"name": "${item}"},
        },
        "later": {"sleep": "1h", "when": "false"},
        "nap": {"sleep": "10ms"},
        "sum": {"transform": "${nodes.list.output.json[0] + nodes.list.output.json[1]}", "needs": ["each", "nap"]},
    },
    "output": "${nodes.sum.output}",
}


@pytest.fixture(scope="module")
async def exported(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fixture's file; beside it the file in which its nodes left a line each."""
    folder = tmp_path_factory.mktemp("fixture")
    await world.put(FLOW)
    execution = await world.finished("fixtures/whole", {"folder": str(folder), "names": ["good", "bad"]})
    assert execution["output"] == 3, execution
    response = await world.ask("GET", f"/executions/{execution['id']}/fixture")
    assert response.headers["content-disposition"].startswith("attachment")
    file = folder / "fixture.json"
    file.write_bytes(response.content)
    return file


async def test_it_comes_to_the_same_and_nothing_happens_outside(exported: Path) -> None:
    before = (exported.parent / "ran").read_text()
    outcome = await run_fixture_async(exported)
    assert (outcome.status, outcome.output, outcome.differences) == ("completed", 3, [])
    assert (exported.parent / "ran").read_text() == before


async def edited(exported: Path, **nodes: Any) -> Path:
    """Another version of the flow, in a file."""
    flow = {**FLOW, "nodes": {**FLOW["nodes"], **nodes}}
    file = exported.parent / "flow.json"
    file.write_bytes(encode(flow))
    return file


async def test_what_pure_nodes_come_to_is_compared(exported: Path) -> None:
    flow = await edited(exported, sum={"transform": "${nodes.list.output.json[0]}", "needs": ["each", "nap"]})
    outcome = await run_fixture_async(exported, flow=flow)
    assert outcome.output == 1
    told = [(str(one.what), one.node, one.before, one.after) for one in outcome.differences]
    assert told == [("output", None, 3, 1), ("output", "sum", 3, 1)]


async def test_what_nodes_are_called_with_is_compared(exported: Path) -> None:
    each = {**FLOW["nodes"]["each"], "with": {"name": "${item}!"}}
    outcome = await run_fixture_async(exported, flow=await edited(exported, each=each))
    assert {(str(one.what), one.label, one.pointer, one.after) for one in outcome.differences} == {
        ("input", "good", "/name", "good!"),
        ("input", "bad", "/name", "bad!"),
    }


async def test_a_node_that_the_fixture_does_not_know_is_told(exported: Path) -> None:
    outcome = await run_fixture_async(exported, flow=await edited(exported, added={"shell": "touch /nowhere/at/all"}))
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error["code"] == "fixture_missing"
    assert ("extra", "added") in {(str(one.what), one.node) for one in outcome.differences}


async def test_secrets_need_not_be_known(exported: Path) -> None:
    listing = {**FLOW["nodes"]["list"], "env": {"DIR": "${input.folder}", "KEY": "${secrets.not_here}"}}
    outcome = await run_fixture_async(exported, flow=await edited(exported, list=listing))
    assert outcome.differences == []


async def test_bad_files_are_refused(exported: Path) -> None:
    bad = exported.parent / "bad.json"
    bad.write_text('{"format": "something/9"}')
    with pytest.raises(MalformedDocument, match=r"perdure\.fixture/1"):
        load_fixture(bad)
    with pytest.raises(InvalidFlow):
        await run_fixture_async(exported, flow=await edited(exported, each={"no_such_type": 1}))


def test_a_test_without_a_loop_can_run_one(tmp_path: Path) -> None:
    fixture = msgspec.convert(
        {
            "format": "perdure.fixture/1",
            "execution": {
                "id": "018f0000-0000-7000-8000-000000000000", "flow": "a/b", "flow_version": 1, "status": "completed",
                "tags": {}, "trigger": {"kind": "api", "id": None, "context": None},
                "created_at": "2026-01-01T00:00:00.000000Z",
            },
            "definition": {
                "id": "a/b",
                "nodes": {
                    "ask": {"approval": {"message": "Go?"}},
                    "say": {"transform": "${nodes.ask.output.by}"},
                },
                "output": "${nodes.say.output}",
            },
            "input": {},
            "output": "ada",
            "runs": [
                {"node": "ask", "type": "approval", "status": "completed", "output": {"by": "ada"}},
                {"node": "say", "type": "transform", "status": "completed", "output": "ada"},
            ],
        },
        Fixture,
    )  # fmt: skip
    assert run_fixture(fixture).differences == []
    fixture.runs[0] = FixtureRun(node="ask", type="approval", status="skipped")
    outcome = run_fixture(fixture)
    assert (outcome.status, {str(one.what) for one in outcome.differences}) == (
        "failed",
        {"outcome", "output", "status", "error"},
    )


REPAIRED: dict[str, Any] = {
    "id": "fixtures/repaired",
    "input": {"names": {"type": "array"}},
    "rate": {"limit": 3, "per": "1h"},
    "nodes": {
        "rates": {"transform": {"a": 1}},
        "each": {"transform": "${nodes.rates.output[item]}", "foreach": "${input.names}"},
        "more": {"shell": "exit 1", "foreach": "${nodes.each.output}", "key": "${string(item)}"},
        "none": {"shell": "exit 1", "foreach": "${[]}"},
        "sum": {"transform": "${nodes.each.output[1] + nodes.more.output[0] + size(execution.tags)}"},
    },
    "output": "${nodes.sum.output}",
}


async def test_what_was_put_in_the_place_of_results_is_so_again(world: World, tmp_path: Path) -> None:
    """A replay of a replay: what is edited was taken over. A list stands for all items of a foreach, however many."""
    await world.put(REPAIRED)
    failed = await world.finished("fixtures/repaired", {"names": ["a", "b"]}, tags={"a": "b"})
    edits = {"outputs": {"rates": {"a": 1, "b": 2}, "more": [10]}}
    repaired = await world.ask("POST", f"/executions/{failed['id']}/replay", edits, headers={"prefer": "wait=30"})
    body = {"from": ["sum"]}
    execution = await world.ask(
        "POST", f"/executions/{repaired.json()['id']}/replay", body, headers={"prefer": "wait=30"}
    )
    assert (repaired.json()["output"], execution.json()["output"]) == (13, 13)
    fixture = tmp_path / "fixture.json"
    fixture.write_bytes((await world.ask("GET", f"/executions/{execution.json()['id']}/fixture")).content)
    outcome = await run_fixture_async(fixture)
    assert (outcome.output, outcome.differences) == (13, [])
    file = tmp_path / "flow.json"
    nodes = {**REPAIRED["nodes"], "rates": {"transform": {}}}
    file.write_bytes(encode({**REPAIRED, "rate": {"limit": 1, "per": "1h"}, "nodes": nodes}))
    assert (await run_fixture_async(fixture, flow=file)).differences == []
