"""Repairing executions from the command line: retry, replay, compare, and take home as a fixture."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command


def test_a_dry_run_says_node_by_node_what_would_happen_and_why(command: Command, failed: str) -> None:
    done = command("execution", "retry", failed, "--dry-run")
    assert done.code == 0, done.err
    assert [line.split(maxsplit=3) for line in done.lines] == [
        ["NODE", "TYPE", "ACTION", "WHY"],
        ["first", "transform", "reuse", "its result is taken over"],
        ["gate", "fail", "run", "it failed"],
        ["last", "transform", "run", "it needs gate"],
    ]
    assert "nothing was started" in done.err
    plan = json.loads(command("execution", "retry", failed, "--dry-run", "-o", "json").out)
    assert (plan["reused"], plan["run"]) == (1, 2)
    assert command("execution", "replays", failed).err.strip() == "no replays"


def test_a_dry_run_tells_that_a_failed_child_goes_on_too(command: Command) -> None:
    failed = command("execution", "start", "tests/outer", "--wait", "-o", "name").out.strip()
    assert command("execution", "retry", failed, "--dry-run").lines[1].split(maxsplit=3) == [
        "inner", "flow", "run", "it failed; what failed in its child runs again",
    ]  # fmt: skip
    again = command("execution", "retry", failed, "--wait", "-o", "name").out.strip()
    parents = (failed, again)
    old, new = (json.loads(command("execution", "list", "--parent", one, "-o", "json").out)[0] for one in parents)
    assert new["replay_of"] == old["id"]
    shown = command("execution", "show", new["id"]).out
    assert "from failed" in shown


def test_a_retry_with_another_value_in_its_input_comes_to_its_end(command: Command, failed: str) -> None:
    done = command("execution", "retry", failed, "-i", "ok=true", "--wait", "-o", "json")
    assert done.code == 0, done.err
    execution = json.loads(done.out)
    assert (execution["output"], execution["replay_of"]) == (3, failed)
    assert execution["input"] == {"ok": True, "words": ["a", "b"]}
    assert command("execution", "replays", failed, "-o", "name").lines == [execution["id"]]


def test_an_edited_output_is_gone_on_with(command: Command, failed: str) -> None:
    done = command("execution", "replay", failed, "--edit", "gate=null", "--edit", "first=41", "--wait", "-o", "json")
    assert json.loads(done.out)["output"] == 42, done.err


def test_a_replay_begins_where_it_is_told(command: Command, failed: str) -> None:
    fine = json.loads(command("execution", "retry", failed, "-i", "ok=true", "--wait", "-o", "json").out)["id"]
    plan = json.loads(command("execution", "replay", fine, "--from", "last", "--dry-run", "-o", "json").out)
    assert {node["node"]: node["reason"] for node in plan["nodes"]} == {
        "first": "recorded", "gate": "recorded", "last": "asked",
    }  # fmt: skip
    assert command("execution", "retry", fine).code == 1
    wrong = command("execution", "replay", fine, "--from", "lost")
    assert (wrong.code, "did you mean 'last'?" in wrong.err) == (1, True)
    assert command("execution", "replay", fine, "--version", "newest").code == 2


def test_a_diff_tells_what_is_different(command: Command, failed: str) -> None:
    fine = command("execution", "retry", failed, "-i", "ok=true", "--wait", "-o", "name").out.strip()
    done = command("execution", "diff", fine, "--with", failed)
    assert done.code == 0, done.err
    rows = {line.split()[0]: line for line in done.lines if line}
    assert "failed" in rows["gate"]
    assert "skipped" in rows["gate"]
    assert "first" not in rows
    assert "  ~ /ok: false → true" in done.lines
    assert "first" in command("execution", "diff", fine, "--with", failed, "--all").out
    assert json.loads(command("execution", "diff", fine, "--with", failed, "-o", "json").out)["output"]["data"]


def test_an_execution_becomes_a_fixture_that_runs_anywhere(command: Command, failed: str, tmp_path: Path) -> None:
    file = tmp_path / "fixture.json"
    done = command("execution", "export", failed, "--as-fixture", str(file))
    assert done.code == 0, done.err
    assert "perdure run --fixture" in done.err
    assert command("execution", "export", failed, "--as-fixture", "-").out == file.read_text()
    many = command("execution", "export", failed, "--as-fixture", "-", "--status", "completed")
    assert (many.code, many.out, "--status is for many" in many.err) == (2, "", True)
    again = command("run", "--fixture", str(file))
    assert (again.code, again.out) == (0, "null\n")
    assert "failed, as recorded" in again.err
    flow = tmp_path / "flow.yaml"
    flow.write_text((Path(__file__).parent / "flows" / "repair.yaml").read_text().replace("!input.ok", "false"))
    mended = command("run", str(flow), "--fixture", str(file))
    assert (mended.code, mended.out) == (1, "3\n")
    assert 'gate: status: "failed" → "skipped"' in mended.err


def test_run_wants_a_file_or_a_fixture(offline: Command, tmp_path: Path) -> None:
    assert offline("run").code == 2
    assert offline("run", "--fixture", str(tmp_path / "none.json")).code == 2
    assert offline("run", "--fixture", str(tmp_path / "none.json"), "-i", "a=1").code == 2
