"""The commands against a real server: data on stdout, the rest on stderr, exit codes as promised."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from perdure.client import Client
from tests.cli.conftest import Command, Printed
from tests.served import PATIENCE_S, Served, perdure

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def started(command: Command, flow: str, *options: str) -> str:
    done = command("execution", "start", flow, "-o", "name", *options)
    assert done.code == 0, done.err
    return done.out.strip()


def test_start_prints_the_execution_and_how_to_follow_it(command: Command) -> None:
    done = command("execution", "start", "tests/greet")
    assert done.code == 0
    assert re.match(rf"id: +{UUID}\nnumber: +\d+\nflow: +tests/greet version 1\n", done.out)
    assert "perdure execution watch" in done.err


def test_start_and_wait_prints_the_end_on_stdout_and_the_events_on_stderr(command: Command) -> None:
    done = command("execution", "start", "tests/greet", "-i", "name=you", "--wait", "-o", "json")
    assert done.code == 0
    execution = json.loads(done.out)
    assert (execution["status"], execution["output"]) == ("completed", "hello you\n")
    assert execution["trigger"]["kind"] == "cli"
    assert "| hello you" in done.err


@pytest.mark.parametrize(
    ("how", "timeout", "code", "status"), [("fail", "300ms", 5, "failed"), ("late", "0.3", 3, "timed_out")]
)
def test_an_execution_s_end_is_the_exit_code(command: Command, how: str, timeout: str, code: int, status: str) -> None:
    done = command(
        "execution", "start", "tests/endings", "-i", f"how={how}", "--timeout", timeout, "--wait", "-o", "json"
    )
    assert (done.code, json.loads(done.out)["status"]) == (code, status)


def test_tags_keys_priorities_and_delays_arrive(command: Command) -> None:
    options = ["--tag", "team=web", "--idempotency-key", "k1", "--priority", "7", "--start-at", "1h", "-o", "json"]
    first = json.loads(command("execution", "start", "tests/greet", *options[:-4], "-o", "json").out)
    again = json.loads(command("execution", "start", "tests/greet", *options[:-4], "-o", "json").out)
    assert first["id"] == again["id"]
    assert (first["tags"], first["priority"], first["idempotency_key"]) == ({"team": "web"}, 7, "k1")
    later = json.loads(command("execution", "start", "tests/greet", "--start-at", "1h", "-o", "json").out)
    assert (later["status"], later["reason"]) == ("pending", "start_at")
    why = command("execution", "why", later["id"])
    assert "It starts at" in why.out
    assert command("execution", "cancel", later["id"]).out.split() == [later["id"], "cancelled"]


def test_a_bad_input_tells_everything_that_is_wrong(command: Command) -> None:
    done = command("execution", "start", "tests/greet", "-i", "name=1")
    assert (done.code, done.out) == (1, "")
    assert "/name" in done.err
    assert "Traceback" not in done.err


def test_a_flow_that_is_not_there_names_one_that_is(command: Command) -> None:
    done = command("execution", "start", "greet")
    assert done.code == 1
    assert "tests/greet" in done.err


def test_lists_come_in_every_format(command: Command) -> None:
    ids = [started(command, "tests/greet", "--tag", "list=me") for _ in range(3)]
    newest_first = ids[::-1]
    options = ["execution", "list", "--tag", "list=me"]
    assert command(*options, "-o", "name").lines == newest_first
    assert [entry["id"] for entry in json.loads(command(*options, "-o", "json").out)] == newest_first
    assert [json.loads(line)["id"] for line in command(*options, "-o", "jsonl").lines] == newest_first
    assert [entry["id"] for entry in yaml.safe_load(command(*options, "-o", "yaml").out)] == newest_first
    table = command(*options)
    assert table.lines[0].split() == ["ID", "NO", "FLOW", "STATUS", "AGE", "TOOK", "REASON"]
    assert [line.split()[0] for line in table.lines[1:]] == newest_first
    assert command(*options, "--limit", "1", "-o", "name").lines == newest_first[:1]
    none = command(*options, "--after", "1h", "--status", "failed", "-o", "name")
    assert (none.code, none.out) == (0, "")


def test_a_text_that_reads_like_a_number_is_told_how_to_be_written(command: Command) -> None:
    refused = command("execution", "start", "tests/greet", "-i", "name=17")
    assert refused.code == 1
    assert """write -i 'name="17"'""" in refused.err
    assert command("execution", "start", "tests/greet", "-i", 'name="17"', "-o", "name").code == 0


def test_one_execution_from_all_sides(command: Command) -> None:
    id = started(command, "tests/greet")
    assert command("execution", "wait", id, "-o", "name").out.strip() == id
    shown = command("execution", "show", id)
    assert "output:" in shown.out
    assert re.search(r"^greet +shell +completed +1 +1$", shown.out, re.MULTILINE)
    nodes = json.loads(command("execution", "nodes", id, "-o", "json").out)
    assert [(run["node"], run["status"]) for run in nodes] == [("greet", "completed"), ("write", "completed")]
    assert command("execution", "nodes", id, "--status", "failed", "-o", "json").out.strip() == "[]"
    assert "ended: completed" in command("execution", "why", id).out


def test_a_node_that_an_ended_execution_never_began_does_not_wait(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "unbegun.yaml"
    file.write_text("id: tests/unbegun\nnodes:\n  nap: {sleep: 1h}\n  then: {transform: 1, needs: [nap]}\n")
    assert command("flow", "apply", str(file)).code == 0
    id = started(command, "tests/unbegun")
    assert re.search(r"^then +transform +waiting ", command("execution", "show", id).out, re.MULTILINE)
    command("execution", "cancel", id)
    command("execution", "wait", id)
    assert re.search(r"^then +transform +not begun ", command("execution", "show", id).out, re.MULTILINE)


def test_logs_and_events(command: Command) -> None:
    id = started(command, "tests/greet")
    command("execution", "wait", id)
    logs = command("execution", "logs", id)
    assert sorted(line.split("| ")[1] for line in logs.lines) == ["hello world", "warning: beware"]
    lines = [json.loads(line) for line in command("execution", "logs", "-f", id, "-o", "jsonl").lines]
    assert {line["stream"] for line in lines} == {"stdout", "stderr"}
    assert command("execution", "logs", id, "--node", "write").out == ""
    assert [line.split("| ")[1] for line in command("execution", "logs", id, "-q", "BEWARE").lines] == [
        "warning: beware"
    ]
    events = [json.loads(line) for line in command("execution", "events", id, "-o", "jsonl").lines]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    followed = [
        json.loads(line) for line in command("execution", "events", "-f", "--after", "2", id, "-o", "jsonl").lines
    ]
    assert followed == events[2:]
    failed = command("execution", "events", id, "--type", "execution.completed")
    assert len(failed.lines) == 1


def test_watch_follows_to_the_end_and_exits_as_it_ended(command: Command) -> None:
    done = command("execution", "watch", started(command, "tests/endings", "-i", "how=fail"))
    assert done.code == 5
    assert re.search(r"fail +failed", done.out)
    assert "perdure execution show" in done.err


def test_the_newest_execution_is_a_dash(command: Command) -> None:
    id = started(command, "tests/greet")
    assert command("execution", "show", "-", "-o", "name").out.strip() == id


def test_artifacts_are_listed_printed_and_fetched(command: Command, nowhere: Path) -> None:
    id = started(command, "tests/greet")
    command("execution", "wait", id)
    assert [entry["name"] for entry in json.loads(command("execution", "artifacts", id, "-o", "json").out)] == [
        "hi.txt"
    ]
    assert command("execution", "artifacts", id, "--cat", "hi.txt").out == "hi"
    assert command("execution", "artifacts", id, "--fetch", "got").out.strip() == os.path.join("got", "hi.txt")
    assert (nowhere / "got" / "hi.txt").read_text() == "hi"
    missing = command("execution", "artifacts", id, "--cat", "ho.txt")
    assert missing.code == 2
    assert "hi.txt" in missing.err


def test_waiting_ends_in_time(command: Command) -> None:
    id = started(command, "tests/endings", "-i", "how=wait")
    done = command("execution", "wait", id, "--timeout", "100ms")
    assert (done.code, done.out) == (3, "")
    assert f"perdure execution wait {id}" in done.err
    cancelled = command("execution", "cancel", id, "--reason", "enough", "--wait")
    assert cancelled.out.split() == [id, "cancelled"]
    assert command("execution", "wait", id).code == 3
    again = command("execution", "cancel", id)
    assert again.code == 1
    assert id in again.err


def test_flows_come_and_go(command: Command, nowhere: Path) -> None:
    file = nowhere / "job.yaml"
    file.write_text("id: tests/job\nnodes:\n  a: {sleep: 1ms}\n  b: {sleep: 1ms, needs: [a]}\n")
    assert json.loads(command("flow", "apply", "job.yaml", "-o", "json").out) == [
        {"flow": "tests/job", "version": 1, "change": "new", "path": "job.yaml"}
    ]
    assert json.loads(command("flow", "apply", "job.yaml", "-o", "json").out)[0]["change"] == "unchanged"
    file.write_text(file.read_text() + "description: Changed.\n")
    assert json.loads(command("flow", "apply", "job.yaml", "-o", "json").out)[0]["version"] == 2
    assert "tests/job" in command("flow", "list", "--namespace", "tests", "-o", "name").lines
    assert yaml.safe_load(command("flow", "show", "tests/job", "--version", "1", "-o", "yaml").out)["number"] == 1
    assert "description: Changed." in command("flow", "show", "tests/job").out
    assert command("flow", "graph", "tests/job").lines == ["● a    sleep", "└─▶ b  sleep  ◀ a"]
    assert "a --> b" in command("flow", "graph", "tests/job", "--format", "mermaid").out
    assert command("flow", "delete", "tests/job").out.split() == ["tests/job", "deleted"]
    assert command("flow", "show", "tests/job").code == 1


def test_a_flow_that_a_folder_manages_cannot_be_applied(command: Command, nowhere: Path) -> None:
    (nowhere / "greet.yaml").write_text("id: tests/greet\nnodes:\n  a: {sleep: 1ms}\n")
    done = command("flow", "apply", "greet.yaml")
    assert done.code == 1
    assert "greet.yaml: flow_managed" in done.err
    assert "nothing was put" in done.err


def test_of_several_files_all_are_applied_or_none(command: Command, nowhere: Path) -> None:
    bad, good, twin = nowhere / "bad.yaml", nowhere / "good.yaml", nowhere / "sub" / "twin.yaml"
    twin.parent.mkdir()
    bad.write_text("id: tests/bad\nnodes:\n  a: {slep: 1ms}\n  b: {sleep: 1ms, needs: [c]}\n")
    good.write_text("id: tests/good\nnodes:\n  a: {sleep: 1ms}\n")
    twin.write_text("id: tests/good\nnodes:\n  a: {sleep: 2ms}\n")
    (nowhere / "none.json").write_text("[")
    (nowhere / "huge.yaml").write_text("nodes: " + "x" * 1024 * 1024)
    done = command("flow", "apply", "bad.yaml", "sub", "good.yaml", "none.json", "huge.yaml", "-o", "name")
    assert (done.code, done.out) == (1, "")
    assert re.search(r"bad.yaml:3:\d+: ", done.err)
    assert re.search(r"bad.yaml:4:\d+: ", done.err)
    assert "sub/twin.yaml:1:1: duplicate_flow: the flow tests/good is also in good.yaml" in done.err
    assert "good.yaml:1:1: duplicate_flow: the flow tests/good is also in sub/twin.yaml" in done.err
    assert re.search(r"none.json:1:\d+: ", done.err)
    assert "huge.yaml: " in done.err
    assert done.err.endswith("5 files: 5 of 5 definitions refused; nothing was put\n")
    assert command("flow", "show", "tests/good").code == 1
    done = command("flow", "apply", "good.yaml", "bad.yaml")
    assert (done.code, done.out) == (1, "")
    assert command("flow", "show", "tests/good").code == 1, "not even the good one"
    assert command("flow", "apply", "good.yaml").code == 0


def test_what_cannot_be_sent_is_told_before_anything_is(command: Command, nowhere: Path) -> None:
    (nowhere / "latin.yaml").write_bytes(b"id: tests/latin\ndescription: caf\xe9\nnodes:\n  a: {sleep: 1ms}\n")
    done = command("flow", "apply", "latin.yaml")
    assert (done.code, done.err) == (1, "latin.yaml:2:17: not_utf8: byte 32 is not UTF-8\nnothing was applied\n")
    many = nowhere / "many"
    many.mkdir()
    for number in range(1_001):
        (many / f"{number}.yaml").write_text("nodes: {}\n")
    done = command("flow", "apply", "many")
    assert (done.code, "1001 files; at most 1,000 are applied at once" in done.err) == (2, True)


def test_a_dry_run_tells_what_would_change_and_changes_nothing(command: Command, nowhere: Path) -> None:
    for name in ("dry-a", "dry-b"):
        (nowhere / f"{name}.yaml").write_text(f"id: tests/{name}\nnodes:\n  a: {{sleep: 1ms}}\n")
    assert command("flow", "apply", "dry-a.yaml", "dry-b.yaml").code == 0
    (nowhere / "dry-b.yaml").write_text("id: tests/dry-b\nnodes:\n  a: {sleep: 2ms}\n")
    (nowhere / "dry-c.yaml").write_text("id: tests/dry-c\nnodes:\n  a: {sleep: 1ms}\n")

    def planned(*options: str) -> list[tuple[str, str, int | None]]:
        told = json.loads(command("flow", "apply", ".", "-o", "json", *options).out)
        return [(one["path"], one["change"], one["version"]) for one in told]

    would_be = [("dry-a.yaml", "unchanged", 1), ("dry-b.yaml", "changed", None), ("dry-c.yaml", "new", None)]
    assert planned("--dry-run") == would_be
    assert planned("--dry-run") == would_be, "the first one changed nothing"
    assert planned() == [("dry-a.yaml", "unchanged", 1), ("dry-b.yaml", "changed", 2), ("dry-c.yaml", "new", 1)]
    assert [change for _, change, _ in planned("--dry-run")] == ["unchanged"] * 3


def test_apply_takes_from_a_folder_what_a_server_would(command: Command, nowhere: Path) -> None:
    for path in (".hidden.yaml", ".git/x.yaml", "__pycache__/x.yaml", "kept.yaml"):
        (nowhere / path).parent.mkdir(exist_ok=True)
        (nowhere / path).write_text(f"id: tests/taken-{len(path)}\nnodes:\n  a: {{sleep: 1ms}}\n")
    (nowhere / "package.json").write_text('{"name": "x"}')
    assert command("flow", "apply", ".", "-o", "name").lines == ["tests/taken-9"]


def test_apply_warns_of_functions_that_the_server_lacks(command: Command, nowhere: Path) -> None:
    (nowhere / "lacks.yaml").write_text("id: tests/lacks\nnodes:\n  a: {python: 'no_such_module:run'}\n")
    done = command("flow", "apply", "lacks.yaml", "-o", "name")
    assert (done.code, done.lines) == (0, ["tests/lacks"])
    assert "lacks.yaml:3:15: warning: function_not_found: there is no module 'no_such_module'" in done.err


def test_doctor_is_well(command: Command, served: Served) -> None:
    done = command("doctor", "-o", "json")
    assert done.code == 0, done.out
    states = {finding["check"]: finding["state"] for finding in json.loads(done.out)}
    assert states["server"] == "ok"
    assert "fail" not in states.values()
    assert served.url in command("doctor").out


def test_shell_completion_offers_live_names(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    id = started(command, "tests/greet")

    def offered(words: str, count: int) -> Printed:
        monkeypatch.setenv("_PERDURE_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(count))
        return command()

    assert "plain,tests/greet" in offered("perdure execution start te", 3).lines
    assert f"plain,{id}" in offered(f"perdure execution show {id[:13]}", 3).lines
    assert "plain,execution" in offered("perdure exe", 1).lines


def test_following_costs_no_more_than_it_must(command: Command) -> None:
    began = time.monotonic()
    assert command("execution", "start", "tests/greet", "--wait").code == 0
    assert time.monotonic() - began < 5


def test_a_watched_list_tells_each_change(served: Served, nowhere: Path) -> None:
    watching = subprocess.Popen(
        perdure("execution", "list", "--tag", "watched=yes", "--watch", "-o", "jsonl", "--url", served.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with Client(served.url) as client, watching:
        assert watching.stdout is not None
        execution = client.executions.start("tests/endings", input={"how": "wait"}, tags={"watched": "yes"})
        first = json.loads(watching.stdout.readline())
        assert (first["id"], first["status"] in {"running", "suspended"}) == (execution.id, True)
        execution.cancel()
        told = [
            json.loads(line)["status"] for line in iter(watching.stdout.readline, "") if not _interrupt(watching, line)
        ]
        assert set(told) <= {"suspended", "cancelling"}
    assert watching.returncode == 130


def _interrupt(process: "subprocess.Popen[str]", line: str) -> bool:
    ended = json.loads(line)["status"] == "cancelled"
    if ended:
        process.send_signal(signal.SIGINT)
    return ended


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["watch"], "perdure execution watch"),
        (["logs", "-f"], "perdure execution logs -f"),
        (["events", "-f"], "perdure execution events -f --after"),
        (["wait"], "perdure execution watch"),
    ],
)
def test_ctrl_c_detaches_and_says_how_to_resume(command: Command, served: Served, args: list[str], hint: str) -> None:
    id = started(command, "tests/endings", "-i", "how=wait")
    following = subprocess.Popen(
        perdure("execution", *args, id, "--url", served.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with Client(served.url) as client, following:
        if "logs" in args or "wait" in args:
            # Nothing is printed before the end; the server knows when the stream is open.
            while client.system.info().streams == 0:
                pass
        else:
            assert following.stdout is not None
            following.stdout.readline()
        following.send_signal(signal.SIGINT)
        out, err = following.communicate(timeout=PATIENCE_S)
        assert following.returncode == 130
        assert hint in err
        assert "Traceback" not in out + err
        execution = client.executions.handle(id)
        assert not execution.ended
        execution.cancel()


def test_events_of_executions_and_of_all_are_printed_once_each(command: Command) -> None:
    first, second = (started(command, "tests/greet") for _ in range(2))
    printed = command("events", "--execution", first, "--execution", second, "--logs", "-o", "jsonl")
    assert printed.code == 0
    events = [json.loads(line) for line in printed.lines]
    for id in (first, second):
        seqs = [event["seq"] for event in events if event["execution"] == id]
        assert seqs == list(range(1, len(seqs) + 1))
    text = command("events", "--execution", first, "--type", "execution.completed")
    assert text.lines[0].startswith(first)
    assert len(text.lines) == 1
    assert command("events", "--execution", first, "--flow", "greet").code == 2
    assert command("events", "--flow", "a", "--flow", "b", "--after", "abc").code == 2
    refused = command("events", "--execution", "999999")
    assert refused.code == 1
    assert "999999" in refused.err


def test_a_cursor_that_is_none_is_refused(command: Command) -> None:
    id = started(command, "tests/greet")
    for of in ([], ["--execution", id]):
        refused = command("events", *of, "--after", "bogus")
        assert (refused.code, refused.out) == (2, "")
        assert "--after: 'bogus': the cursor is none of this feed" in refused.err


def test_ctrl_c_ends_the_events_of_all_and_says_where_to_go_on(command: Command, served: Served) -> None:
    started(command, "tests/greet")
    following = subprocess.Popen(
        perdure("events", "--after", "start", "--url", served.url),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with following:
        assert following.stdout is not None
        following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 130
    assert "Go on with the same command and: --after " in err
    assert "Traceback" not in err
