"""`perdure run`: the same durability without a server."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.served import PATIENCE_S, clean_environ, perdure, serving

LEDGER = """id: tests/ledger
input: {amount: {type: integer, default: 1}}
nodes:
  first: {shell: 'echo first >> ledger.txt', with: {}, env: {}}
  second:
    shell: 'echo begun >> ledger.txt; echo up; test -e go || sleep 60; echo second >> ledger.txt'
    needs: [first]
output:
  amount: ${input.amount}
"""


def run(folder: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        perdure("run", *args), cwd=folder, env=clean_environ(folder) | environ, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def begun(folder: Path, *args: str) -> subprocess.Popen[str]:
    """A run whose second node has begun, and said so after writing it down."""
    process = subprocess.Popen(
        perdure("run", *args), cwd=folder, env=clean_environ(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(r"second .*\| up", line):
            return process
    raise AssertionError("the second node did not begin")


def ledger_flow(folder: Path) -> str:
    """The flow, writing into this folder whatever directory its shell nodes run in."""
    (folder / "ledger.yaml").write_text(
        LEDGER.replace("ledger.txt", str(folder / "ledger.txt")).replace("-e go", f"-e {folder}/go")
    )
    return "ledger.yaml"


def ledger(folder: Path) -> Sequence[str]:
    return (folder / "ledger.txt").read_text().split()


def executions(folder: Path) -> list[dict[str, object]]:
    with serving(folder) as server:
        listing = subprocess.run(
            perdure("execution", "list", "--url", server.url, "-o", "json"), env=clean_environ(folder), check=True,
            capture_output=True, text=True,
        )  # fmt: skip
    found: list[dict[str, object]] = json.loads(listing.stdout)
    return found


def test_the_output_is_json_on_stdout_and_the_events_are_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    done = run(tmp_path, ledger_flow(tmp_path), "-i", "amount=3")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"amount": 3})
    assert re.search(r"second +completed", done.stderr)
    quiet = run(tmp_path, "ledger.yaml", "-q")
    assert (quiet.returncode, json.loads(quiet.stdout), quiet.stderr) == (0, {"amount": 1}, "")


def test_after_kill_9_the_same_command_goes_on(tmp_path: Path) -> None:
    flow = ledger_flow(tmp_path)
    process = begun(tmp_path, flow)
    process.kill()
    process.communicate()
    (tmp_path / "go").touch()
    done = run(tmp_path, flow)
    assert done.returncode == 0, done.stderr
    assert "going on with" in done.stderr
    assert ledger(tmp_path) == ["first", "begun", "begun", "second"], "what was done is not done again"
    assert len(executions(tmp_path)) == 1


def test_ctrl_c_keeps_it_and_says_how_to_go_on(tmp_path: Path) -> None:
    flow = ledger_flow(tmp_path)
    process = begun(tmp_path, flow, "--drain", "0s", "--grace", "100ms")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (130, "")
    assert f"Go on with: perdure run {flow}" in err
    (tmp_path / "go").touch()
    assert run(tmp_path, flow).returncode == 0
    assert ledger(tmp_path).count("first") == 1


def test_another_input_or_another_definition_is_another_execution(tmp_path: Path) -> None:
    flow = ledger_flow(tmp_path)
    process = begun(tmp_path, flow)
    process.kill()
    process.communicate()
    (tmp_path / "go").touch()
    other = run(tmp_path, flow, "-i", "amount=2")
    assert json.loads(other.stdout) == {"amount": 2}
    text = (tmp_path / flow).read_text()
    (tmp_path / flow).write_text(text + "description: Changed.\n")
    assert run(tmp_path, flow).returncode == 0
    assert ledger(tmp_path).count("second") == 2
    (tmp_path / flow).write_text(text)
    assert "going on with" in run(tmp_path, flow).stderr, "the first one was touched by neither"
    assert [entry["status"] for entry in executions(tmp_path)] == ["completed"] * 3


@pytest.mark.parametrize(
    ("node", "code", "told"),
    [("fail: {message: on purpose}", 5, "failed in a: "), ("sleep: 1h", 3, "timed_out")],
)
def test_the_exit_code_tells_how_it_ended(tmp_path: Path, node: str, code: int, told: str) -> None:
    (tmp_path / "x.yaml").write_text(f"id: tests/x\ntimeout: 500ms\nnodes:\n  a: {{{node}}}\n")
    done = run(tmp_path, "x.yaml")
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr


def test_a_broken_file_is_told_with_its_places(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("id: tests/x\nnodes:\n  a: {slep: 1s}\n")
    done = run(tmp_path, "x.yaml")
    assert done.returncode == 1
    assert re.search(r"x\.yaml:3:\d+: unknown_field: ", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_bad_input_is_told_with_its_place(tmp_path: Path) -> None:
    done = run(tmp_path, ledger_flow(tmp_path), "-i", "amount=much")
    assert done.returncode == 1
    assert "/amount" in done.stderr


def test_a_store_that_a_server_holds_is_left_alone(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        done = run(tmp_path, ledger_flow(tmp_path))
        assert done.returncode == 1
        assert str(server.process.pid) in done.stderr
        assert server.url in done.stderr


def test_children_are_carried_out_too(tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "child.yaml").write_text(
        "id: tests/child\ninput: {n: {type: integer}}\nnodes:\n  wait: {sleep: 50ms}\noutput: ${input.n * 2}\n"
    )
    (tmp_path / "parent.yaml").write_text(
        "id: tests/parent\nnodes:\n  child: {flow: {flow: tests/child, input: {n: 21}}}\noutput: ${nodes.child.output}\n"
    )
    done = run(tmp_path, "parent.yaml", "--flows", os.fspath(flows))
    assert (done.returncode, done.stdout.strip()) == (0, "42"), done.stderr
