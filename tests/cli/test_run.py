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
  clean: {shell: 'echo clean >> ledger.txt', needs: [second], run_if: always}
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
    assert ledger(tmp_path) == ["first", "begun", "begun", "second", "clean"], "what was done is not done again"
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


def left_by_an_edit(folder: Path) -> tuple[str, str]:
    """The flow's file, edited after a run of it was killed in its second node; and that run's id."""
    flow = ledger_flow(folder)
    process = begun(folder, flow, "-i", "amount=7")
    process.kill()
    process.communicate()
    (folder / "go").touch()
    (folder / flow).write_text((folder / flow).read_text() + "description: Changed.\n")
    done = run(folder, flow, "-i", "amount=8", "-q")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"amount": 8}), "a new version is a new execution"
    assert "unfinished executions of other versions of tests/ledger (this is version 2):" in done.stderr
    told = re.search(r"^  (\S+)  version 1, interrupted, begun \d+\w+ ago$", done.stderr, re.MULTILINE)
    assert told is not None, done.stderr
    for option in ("--resume", "--cancel"):
        assert f"perdure run {flow} {option} {told[1]}\n" in done.stderr
    return flow, told[1]


def test_what_an_edit_left_unfinished_is_told_and_can_go_on(tmp_path: Path) -> None:
    flow, id = left_by_an_edit(tmp_path)
    done = run(tmp_path, flow, "--resume", id)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"amount": 7}), done.stderr
    assert "going on with tests/ledger version 1" in done.stderr
    assert ledger(tmp_path).count("first") == 2, "what was done is not done again"
    assert "unfinished executions" not in run(tmp_path, flow).stderr
    again = run(tmp_path, flow, "--resume", id)
    assert (again.returncode, again.stdout) == (1, "")
    assert "has ended: it is completed" in again.stderr


def test_what_an_edit_left_unfinished_can_be_cancelled(tmp_path: Path) -> None:
    flow, id = left_by_an_edit(tmp_path)
    other = tmp_path / "other.yaml"
    other.write_text("id: tests/other\nnodes:\n  a: {transform: 1}\n")
    refused = run(tmp_path, "other.yaml", "--cancel", id)
    assert refused.returncode == 1
    assert "is one of tests/ledger, the file holds tests/other" in refused.stderr
    done = run(tmp_path, flow, "--cancel", "1")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "unfinished executions" not in run(tmp_path, flow).stderr
    assert [entry["status"] for entry in executions(tmp_path)] == ["completed", "completed", "cancelled"]
    assert ledger(tmp_path).count("second") == 2
    assert ledger(tmp_path).count("clean") == 3, "what was cancelled has cleaned up"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--resume", "1", "--cancel", "1"], "give one of them"),
        (["--resume", "1", "-i", "amount=1"], "give one of them"),
        (["--resume", "no-such-id"], "there is no execution no-such-id in this store"),
        (["--cancel", "99"], "there is no execution 99 in this store"),
    ],
)
def test_going_on_with_what_is_not_there_is_refused(tmp_path: Path, options: list[str], told: str) -> None:
    done = run(tmp_path, ledger_flow(tmp_path), *options)
    assert done.returncode in {1, 2}
    assert told in done.stderr
    assert "Traceback" not in done.stderr


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
        assert "perdure execution start" in done.stderr
        assert "--home OTHER" in done.stderr
        (tmp_path / "go").touch()
        assert run(tmp_path, "ledger.yaml", "--home", "apart", "-q").returncode == 0


def test_a_second_server_is_told_of_the_first_one(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        done = subprocess.run(
            perdure("serve", "--port", "0"), cwd=tmp_path, env=clean_environ(tmp_path), capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1
        assert server.url in done.stderr
        assert "It serves this store already" in done.stderr
        assert "perdure flow apply" not in done.stderr


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
