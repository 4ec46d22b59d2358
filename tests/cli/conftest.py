"""One server for all tests of commands, and the command itself, called in this process."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from perdure.cli.main import call
from tests.served import Served, serving

FLOWS = Path(__file__).parent / "flows"


class Printed:
    """What a command left: its exit code and both outputs."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Command:
    """`command("execution", "list")` as a user would type it, without starting a Python for each."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *args: str) -> Printed:
        code = call([*args])
        sys.stdout.flush()
        out, err = self._capfd.readouterr()
        return Printed(code, out, err)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), "--flows", str(FLOWS)) as server:
        yield server


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder without a server, a configuration or an environment."""
    for name in [name for name in os.environ if name.startswith(("PERDURE_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def offline(nowhere: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    yield Command(capfd)
    # A command that logs has set the log up to write into this test's stderr, which is no more.
    structlog.reset_defaults()


@pytest.fixture
def command(offline: Command, served: Served, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("PERDURE_URL", served.url)
    return offline


@pytest.fixture
def failed(command: Command) -> str:
    """The id of an execution whose flow can be repaired."""
    done = command("execution", "start", "tests/repair", "--wait", "-o", "name")
    assert done.code == 5, done.err
    return done.out.strip()
