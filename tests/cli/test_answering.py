"""Commands for what waits for somebody: listing, approving, answering, signalling, pausing."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from perdure.cli.exits import INTERRUPTED
from perdure.client import Client
from tests.cli.conftest import Command
from tests.served import PATIENCE_S, Served, perdure


def waits_at(client: Client, id: str, node: str) -> None:
    """Return when the execution waits at that node."""
    handle = client.executions.handle(id)
    for event in handle.events(types=["node.suspended"]):
        if event.node == node:
            # The wait is committed with its event.
            assert node in {wait.node for wait in handle.waits()}
            return


def begun(command: Command, served: Served) -> str:
    id = command("execution", "start", "tests/outside", "-o", "name").out.strip()
    with Client(served.url) as client:
        waits_at(client, id, "approve")
    return id


def test_an_approval_from_the_inbox_to_the_end(command: Command, served: Served) -> None:
    id = begun(command, served)
    listed = command("wait", "list", "--flow", "tests/outside", "--approver", "editors")
    [line] = [line for line in listed.lines if id in line]
    assert line.split()[1:4] == ["tests/outside", "approve@1", "approval"]
    assert f"{id} approve@1" in command("wait", "list", "--mine", "-o", "name").lines
    assert command("wait", "list", "--mine", "--approver", "x").code == 2
    [one] = json.loads(command("execution", "waits", id, "-o", "json").out)
    assert (one["kind"], one["message"], one["approvers"]) == ("approval", "Really?", ["editors"])
    assert "waits for approval by editors" in command("execution", "why", id).out
    approved = command("execution", "approve", id, "-m", "fine", "-o", "json")
    assert (approved.code, json.loads(approved.out)["outcome"]) == (0, "approved")
    with Client(served.url) as client:
        waits_at(client, id, "ask")
    refused = command("execution", "respond", id, "-i", "city=X", "-i", "days=0")
    assert refused.code == 1
    assert "/answer/city" in refused.err
    assert "/answer/days" in refused.err
    done = command("execution", "respond", id, "-i", "city=Oslo", "-i", "by=ship", "-i", "cheap=true")
    assert (done.code, done.lines[3].split()[1]) == (0, "answered")
    sent = command("execution", "signal", id, "paid", "-i", "n=7")
    assert sent.code == 0
    assert command("execution", "wait", id).code == 0
    output = json.loads(command("execution", "show", id, "-o", "json").out)["output"]
    assert output == [{"city": "Oslo", "days": 3, "by": "ship", "cheap": True}, {"n": 7}]
    late = command("execution", "reject", id)
    assert (late.code, "answered" in late.err) == (1, True)


def test_a_rejection_is_the_end(command: Command, served: Served) -> None:
    id = begun(command, served)
    assert command("execution", "reject", id, "-m", "too dear").code == 0
    assert command("execution", "wait", id).code == 5
    assert "too dear" in command("execution", "show", id).out


def test_pausing_and_resuming(command: Command, served: Served) -> None:
    id = begun(command, served)
    paused = command("execution", "pause", id, "--reason", "dinner")
    assert (paused.code, "suspended (paused)" in paused.out) == (0, True)
    assert "paused by" in command("execution", "why", id).out
    assert id in command("wait", "list", "--kind", "pause").out
    assert command("execution", "resume", id).code == 0
    again = command("execution", "resume", id)
    assert (again.code, "not paused" in again.err) == (1, True)
    command("execution", "cancel", id)


def test_without_a_terminal_the_answer_has_to_be_given(command: Command, served: Served) -> None:
    id = begun(command, served)
    asked = command("execution", "respond", id)
    assert (asked.code, "-i KEY=VALUE" in asked.err) == (2, True)
    command("execution", "cancel", id)
    nothing = command("execution", "respond", id)
    assert (nothing.code, "waits for no answer" in nothing.err) == (1, True)


def test_a_form_is_asked_question_by_question_in_a_terminal(command: Command, served: Served, nowhere: Path) -> None:
    id = begun(command, served)
    command("execution", "approve", id)
    with Client(served.url) as client:
        waits_at(client, id, "ask")
    terminal, other = os.openpty()
    asking = subprocess.Popen(
        perdure("execution", "respond", id, "--url", served.url, "-o", "json"), stdin=other, stderr=other,
        stdout=subprocess.PIPE, text=True, cwd=nowhere,
    )  # fmt: skip
    os.close(other)
    shown = ""
    for question, answer in (
        ("city:", "X"), ("days [3]:", "many"), ("days [3]:", ""), ("by:", "2"), ("cheap [y/n]:", "y"),
        ("city:", "Oslo"),
    ):  # fmt: skip
        shown = read_until(terminal, question)
        os.write(terminal, f"{answer}\n".encode())
    assert "shorter than 2" in shown
    out, _ = asking.communicate(timeout=PATIENCE_S)
    os.close(terminal)
    assert asking.returncode == 0
    assert json.loads(out)["answer"] == {"city": "Oslo", "days": 3, "by": "ship", "cheap": True}
    command("execution", "cancel", id)


@pytest.mark.parametrize("question", ["answer", "bulk"])
def test_one_ctrl_c_at_a_question_ends_the_command(
    command: Command, served: Served, nowhere: Path, question: str
) -> None:
    id = begun(command, served)
    words, asks = {
        "answer": (["respond", id], "Approve? [y/N]:"),
        "bulk": (["cancel", "--flow", "tests/outside"], "[y/N]:"),
    }[question]
    terminal, other = os.openpty()
    asking = subprocess.Popen(
        perdure("execution", *words, "--url", served.url), stdin=other, stderr=other, stdout=subprocess.PIPE, cwd=nowhere
    )  # fmt: skip
    os.close(other)
    try:
        read_until(terminal, asks)
        asking.send_signal(signal.SIGINT)
        assert asking.wait(timeout=PATIENCE_S) == INTERRUPTED
    finally:
        asking.kill()
        asking.communicate()
        os.close(terminal)
    assert json.loads(command("execution", "show", id, "-o", "json").out)["status"] == "suspended"
    command("execution", "cancel", id)


def read_until(terminal: int, text: str) -> str:
    """What the terminal shows from now on, up to this text."""
    shown = ""
    while not shown.rstrip().endswith(text):
        ready, _, _ = select.select([terminal], [], [], PATIENCE_S)
        assert ready, f"{text!r} was not asked: {shown!r}"
        shown += os.read(terminal, 4096).decode()
    return shown
