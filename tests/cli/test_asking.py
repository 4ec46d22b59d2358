"""`perdure run` at a terminal: whoever sits there is asked what the flow waits for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_answering import read_until
from tests.served import PATIENCE_S, clean_environ, perdure

FLOW = """id: tests/outing
nodes:
  go: {approval: {message: "Shall we?"}}
  where:
    ask:
      message: Where to?
      form: {city: {type: string, minLength: 2}, days: {type: integer, default: 3}}
    needs: [go]
output: "${nodes.where.output.answer}"
"""
EXPIRING = """id: tests/expiring
nodes:
  go: {approval: {message: "Shall we?", on_expiry: approve}, timeout: 1s}
output: done
"""
INTERRUPTED = 130


class AtTerminal:
    """`perdure run` with a terminal as its standard input and error."""

    def __init__(self, folder: Path, *args: str, term: str) -> None:
        self._terminal, other = os.openpty()
        self.process = subprocess.Popen(
            perdure("run", *args), cwd=folder, env=clean_environ(folder) | {"TERM": term}, stdin=other, stderr=other,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(other)
        self.shown = ""

    def asked(self, question: str) -> None:
        """Return when it is asked."""
        self.shown += read_until(self._terminal, question)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it printed; what it still showed is taken note of."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        os.set_blocking(self._terminal, False)
        while True:
            try:
                piece = os.read(self._terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            self.shown += piece.decode()
        return self.process.returncode, out

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._terminal)


@contextmanager
def at_terminal(folder: Path, *args: str, term: str = "dumb") -> Iterator[AtTerminal]:
    made = AtTerminal(folder, *args, term=term)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def outing(tmp_path: Path) -> Path:
    (tmp_path / "outing.yaml").write_text(FLOW)
    return tmp_path


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_a_flow_is_answered_where_it_runs(outing: Path, term: str) -> None:
    with at_terminal(outing, "outing.yaml", term=term) as person:
        person.asked("Approve? [y/N]:")
        person.type("y\n")
        for question, answer in (("city:", "X"), ("days [3]:", ""), ("city:", "Oslo")):
            person.asked(question)
            person.type(f"{answer}\n")
        code, out = person.ended()
    assert (code, json.loads(out)) == (0, {"city": "Oslo", "days": 3})
    assert "Shall we?" in person.shown
    assert "shorter than 2" in person.shown


def test_a_rejection_ends_it(outing: Path) -> None:
    with at_terminal(outing, "outing.yaml", "-q") as person:
        person.asked("Approve? [y/N]:")
        person.type("n\n")
        code, _ = person.ended()
    assert code == 5
    assert "rejected" in person.shown


def test_what_was_left_unanswered_is_asked_again(outing: Path) -> None:
    """Ctrl-C at a question, and Ctrl-D, which gives the question up and lets the flow wait."""
    with at_terminal(outing, "outing.yaml") as person:
        person.asked("Approve? [y/N]:")
        person.process.send_signal(signal.SIGINT)
        code, _ = person.ended()
    assert (code, "Fatal" in person.shown) == (INTERRUPTED, False)
    with at_terminal(outing, "outing.yaml") as person:
        person.asked("Approve? [y/N]:")
        person.type("\x04")
        person.asked("the same command asks again.")
        person.process.send_signal(signal.SIGINT)
        assert person.ended()[0] == INTERRUPTED
    with at_terminal(outing, "outing.yaml") as person:
        person.asked("Approve? [y/N]:")
        person.type("y\n")
        person.asked("city:")
        person.type("Oslo\n\n")
        code, out = person.ended()
    assert (code, json.loads(out)) == (0, {"city": "Oslo", "days": 3})


def test_a_question_whose_time_is_over_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "expiring.yaml").write_text(EXPIRING)
    with at_terminal(tmp_path, "expiring.yaml") as person:
        person.asked("Approve? [y/N]:")
        code, out = person.ended()
    assert (code, json.loads(out), "Fatal" in person.shown) == (0, "done", False)


def test_nobody_is_asked_without_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "expiring.yaml").write_text(EXPIRING)
    done = subprocess.run(
        perdure("run", "expiring.yaml"), cwd=tmp_path, env=clean_environ(tmp_path), input="n\n", capture_output=True,
        text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)) == (0, "done")
    assert "Approve?" not in done.stderr
