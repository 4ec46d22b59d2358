"""`perdure serve`, or `worker`, as a real process that can be killed, frozen and started again on the same home."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx2
import msgspec

from tests.faults.harness.ledger import Boot, Ledger
from tests.faults.harness.processes import Process, alive, descendants
from tests.faults.harness.waiting import now_us, until

READY_S = 30.0
"""Seconds within which a server must be ready on a machine that is busy with other tests."""
DEATH_S = 10.0
PERDURE = Path(sys.executable).with_name("perdure")


class ServerDied(AssertionError):
    """The server ended before it was ready. `status` is what it exited with (negative: a signal)."""

    def __init__(self, status: int, log: str) -> None:
        super().__init__(f"the server ended with {status} before it was ready:\n{log[-4000:]}")
        self.status = status
        self.log = log


class Server:
    """At most one process at a time; `boots` notes when each began.

    `role` is the command, with what belongs to it. With a `port` it always answers there; without one it takes any.
    """

    def __init__(
        self,
        *,
        home: Path,
        flows: Path,
        log: Path,
        boots: Ledger[Boot],
        role: tuple[str, ...] = ("serve",),
        port: int | None = None,
    ) -> None:
        self.home = home
        self.log = log
        self.role = role
        self.port = port
        self.arguments: tuple[str, ...] = ()
        self.environment: dict[str, str] = {}
        self._flows = flows
        self._boots = boots
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None
        self._client = httpx2.Client(timeout=5, verify=False)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it answers, or answered last."""
        assert self._url is not None
        return self._url

    def start(self, *, fault: str | None = None, ready: bool = True) -> None:
        """Start it, and wait until it is ready unless told otherwise.

        `fault` is a fault point, as `PERDURE_FAULT` names it. Raises `ServerDied`.
        """
        assert self._process is None
        self._boots.append(Boot(at=now_us()))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    PERDURE, *self.role, "--home", self.home, "--port", str(self.port or 0), "--flows", self._flows,
                    *self.arguments,
                ],
                env=self._environment({} if fault is None else {"PERDURE_FAULT": fault}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )  # fmt: skip
        if ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Raises `ServerDied`."""
        until(self._is_ready, within_s=READY_S, what="the server is ready")

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when the process is gone."""
        self._signal(signal.SIGKILL)
        self.died()

    def stop(self, *, within_s: float = 40.0) -> int:
        """SIGTERM and wait: it drains. The exit status."""
        self._signal(signal.SIGTERM)
        return self.died(within_s=within_s)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self._signal(signal.SIGTERM)

    def died(self, *, within_s: float = DEATH_S) -> int:
        """Wait for the end of the process, and tell its exit status (negative: a signal)."""
        assert self._process is not None
        try:
            status = self._process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end within {within_s:g} s:\n{self.log_text()[-4000:]}") from None
        self._process = None
        return status

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def revive(self) -> bool:
        """What systemd does: start it again if it is dead, also when it dies at its start. Whether that was needed."""
        if self.running:
            return False
        if self._process is not None:
            self.died()
        with contextlib.suppress(ServerDied):
            self.start()
        return True

    def frozen(self, *, wholly: bool = False) -> contextlib.AbstractContextManager[None]:
        """SIGSTOP within the context, SIGCONT at its end; `wholly` with all that it has started, as a machine freezes."""
        return _frozen([self.pid, *(one.pid for one in self.processes())] if wholly else [self.pid])

    def processes(self) -> list[Process]:
        """All that it has started and that still lives."""
        return descendants(self.pid)

    def clean_up(self) -> None:
        """Whatever state a test left it in: nothing of it remains."""
        self._client.close()
        if self._process is None:
            return
        left = descendants(self._process.pid)
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()
        self._process = None
        for one in alive(left):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PERDURE_", "PYTEST_"))}
        return {**own, "NO_COLOR": "1", **self.environment, **more}

    def _is_ready(self) -> bool:
        process = self._process
        assert process is not None
        if process.poll() is not None:
            raise ServerDied(self.died(), self.log_text())
        url = self._announced(process.pid)
        if url is None:
            return False
        try:
            answer = self._client.get(f"{url}/health/ready")
        except httpx2.TransportError:
            return False
        self._url = url
        return answer.status_code == httpx2.codes.OK

    def _announced(self, pid: int) -> str | None:
        """Where it is known to answer, or what the lock file says, once it speaks of this process."""
        if self.port is not None:
            return f"http://127.0.0.1:{self.port}"
        for path in self.home.glob("*.lock"):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                owner = msgspec.json.decode(path.read_bytes())
                if owner.get("pid") == pid and owner.get("url"):
                    url: str = owner["url"]
                    return url
        return None


@contextlib.contextmanager
def _frozen(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
