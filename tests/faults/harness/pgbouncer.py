"""A real PgBouncer in transaction mode, wherever it can be had from.

It is what `PERDURE_TEST_PGBOUNCER` names, or on the PATH; else the system's own package is fetched with apt and
unpacked into this checkout's `.tools`, without being installed. Where neither is possible, the tests that
need it fail and say what to do: a promise that was not tried is not kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.faults.harness.waiting import until
from tests.postgres_server import Postgres, answers, free_port, server_command

TOOLS = Path(__file__).parents[3] / ".tools"
_HELP = "install the package pgbouncer, or name its program in PERDURE_TEST_PGBOUNCER"
_CONFIG = """
[databases]
* = host=127.0.0.1 port={upstream} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 100
server_idle_timeout = 5
"""


class PgBouncer:
    """One proxy before one server; `size` is how many connections it makes for all its clients."""

    def __init__(self, folder: Path, postgres: Postgres, *, size: int) -> None:
        self.port = free_port()
        self._program, libraries = _program()
        self._log = folder / "pgbouncer.log"
        self._config = folder / "pgbouncer.ini"
        self._config.write_text(_CONFIG.format(upstream=postgres.port, port=self.port, size=size))
        self._environment = {**os.environ, "LD_LIBRARY_PATH": libraries} if libraries else dict(os.environ)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PgBouncer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*server_command("KILL"), self._program, str(self._config)],
                env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until(self._is_up, within_s=20, what="PgBouncer answers")

    def stop(self) -> None:
        """At once: its clients lose their connections."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        return answers(self.port)


def _program() -> tuple[str, str]:
    """The program, and the folder of its libraries where these are not the system's."""
    found = os.environ.get("PERDURE_TEST_PGBOUNCER") or shutil.which("pgbouncer")
    if found:
        return found, ""
    place = TOOLS / "pgbouncer"
    if not place.exists():
        _unpack(place)
    libraries = {str(path.parent) for path in place.rglob("*.so*")}
    return str(place / "usr/sbin/pgbouncer"), ":".join(sorted(libraries))


def _unpack(place: Path) -> None:
    """The package and the libraries that it needs, as apt gives them; whole or not at all."""
    if shutil.which("apt-get") is None:
        raise RuntimeError(f"PgBouncer is not on this machine, and there is no apt to fetch it with: {_HELP}")
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS) as name:
        folder = Path(name)
        whole = folder / "whole"
        own = [f"-oDir::State::Lists={folder}/lists", f"-oDir::Cache={folder}/cache", "-oAPT::Sandbox::User="]
        for options in ([], own):
            if options:
                _run(["apt-get", *options, "update"], folder)
            depends = _run(["apt-cache", *options, "depends", "pgbouncer"], folder)
            names = [line.split()[1] for line in depends.splitlines() if line.strip().startswith("Depends: lib")]
            wanted = ["pgbouncer", *(one for one in names if one != "libc6")]
            if (
                len(wanted) > 1
                and _run(["apt-get", "-oAPT::Sandbox::User=", *options, "download", *wanted], folder) != ""
            ):
                break
        packages = list(folder.glob("*.deb"))
        for package in packages:
            _run(["dpkg", "-x", str(package), str(whole)], folder)
        if not (whole / "usr/sbin/pgbouncer").exists():
            raise RuntimeError(f"PgBouncer is not on this machine, and apt does not give it: {_HELP}")
        if not place.exists():
            whole.rename(place)


def _run(command: list[str], folder: Path) -> str:
    """What it prints; empty when it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=90)
    return done.stdout + done.stderr if done.returncode == 0 else ""
