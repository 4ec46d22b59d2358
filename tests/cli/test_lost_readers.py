"""A server whose output nobody reads any more ends as it is told to."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import httpx2
import pytest

from tests.served import PATIENCE_S, READY, clean_environ, perdure


def pipe() -> tuple[int, int]:
    return os.pipe()


def terminal() -> tuple[int, int]:
    return os.openpty()


Served = tuple[str, IO[str], subprocess.Popen[bytes]]


@contextmanager
def served(folder: Path, *, reads: int, writes: int) -> Iterator[Served]:
    """A server that is up, where it answers, and what is read of its stderr; the reader is still there."""
    process = subprocess.Popen(
        perdure("serve", "--port", "0", "--log-format", "json"),
        cwd=folder, env=clean_environ(folder), stdout=writes, stderr=writes, start_new_session=True,
    )  # fmt: skip
    os.close(writes)
    with ExitStack() as undo:
        undo.callback(process.wait)
        undo.callback(process.kill)
        reader = undo.enter_context(os.fdopen(reads))
        line = next(line for line in reader if READY.search(line))
        match = READY.search(line)
        assert match is not None
        yield match[1], reader, process


@pytest.mark.parametrize("opened", [pipe, terminal])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_server_whose_log_nobody_reads_ends_well(
    tmp_path: Path, opened: Callable[[], tuple[int, int]], number: signal.Signals
) -> None:
    reads, writes = opened()
    with served(tmp_path, reads=reads, writes=writes) as (_, reader, process):
        reader.close()
        # It logs that it drains.
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0


def test_a_terminal_that_is_closed_lets_running_attempts_end(tmp_path: Path) -> None:
    """Shell and kernel both send SIGHUP: the second one is no wish for hurry."""
    reads, writes = pipe()
    with served(tmp_path, reads=reads, writes=writes) as (url, reader, process):
        gate, began = tmp_path / "gate", tmp_path / "began"
        os.mkfifo(gate)
        os.mkfifo(began)
        node = {"shell": f"echo yes > {began}; read line < {gate}; echo $line"}
        with httpx2.Client(base_url=f"{url}/api/v1") as http:
            http.put("/flows/slow", json={"id": "slow", "nodes": {"n": node}}).raise_for_status()
            id = http.post("/executions", json={"flow": "slow"}).raise_for_status().json()["id"]
        assert began.read_text() == "yes\n"
        process.send_signal(signal.SIGHUP)
        assert any('"draining"' in line for line in reader)
        process.send_signal(signal.SIGHUP)
        gate.write_text("done\n")
        assert process.wait(PATIENCE_S) == 0
        assert "not waiting" not in reader.read()
    reads, writes = pipe()
    with served(tmp_path, reads=reads, writes=writes) as (url, reader, process):
        execution = httpx2.get(f"{url}/api/v1/executions/{id}").raise_for_status().json()
        assert execution["output"]["n"]["stdout"] == "done\n"


def test_a_descriptor_that_was_closed_is_never_a_file_of_ours(tmp_path: Path) -> None:
    program = (
        "import os, sys; from perdure.log import steady_streams; steady_streams()\n"
        "sys.stderr.write('lost\\n'); sys.stderr.flush()\n"
        f"file = os.open({str(tmp_path / 'store')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "os.write(2, b'lost')\n"
        "sys.stdout.write(str(file)); sys.stdout.flush()\n"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&- 0<&-', sys.executable, program], stdout=subprocess.PIPE, check=True, text=True
    )  # fmt: skip
    assert int(done.stdout) > 2
    assert (tmp_path / "store").read_bytes() == b""
