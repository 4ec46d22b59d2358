"""`perdure execution export` into a file: what is told of it, and what is lost to a server that does not answer."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.client.scripted import scripted
from tests.served import Served, clean_environ, perdure


def test_each_format_tells_as_many_executions_as_it_holds(command: Command, tmp_path: Path) -> None:
    assert command("execution", "start", "tests/repair", "--wait").code == 5
    file = tmp_path / "all"
    assert command("execution", "export", "--format", "json", "--to", str(file)).code == 0
    count = len(json.loads(file.read_text()))
    assert count > 0
    for format in ("ndjson", "csv", "json"):
        done = command("execution", "export", "--format", format, "--to", str(file))
        assert f"{count:,} executions in {file}" in done.err
    none = command("execution", "export", "--format", "json", "--tag", "there=none", "--to", str(file))
    assert ("0 executions in" in none.err, json.loads(file.read_text())) == (True, [])


def at_terminal(argv: Sequence[str], environ: dict[str, str], *, redirected: bool) -> str:
    """What a terminal shows of the command; with its standard output elsewhere."""
    shown, terminal = os.openpty()
    out = subprocess.DEVNULL if redirected else terminal
    with subprocess.Popen(argv, env=environ | {"TERM": "xterm"}, stdin=terminal, stdout=out, stderr=terminal):
        os.close(terminal)
        parts = []
        with suppress(OSError):
            while part := os.read(shown, 65536):
                parts.append(part)
    os.close(shown)
    return b"".join(parts).decode()


def test_a_bar_counts_executions_and_stays_away_from_a_terminal_that_shows_them(
    command: Command, served: Served, tmp_path: Path
) -> None:
    for _ in range(2):
        assert command("execution", "start", "tests/greet", "--tag", "bar=here", "--wait").code == 0
    argv = perdure("execution", "export", "--tag", "bar=here", "--format", "csv", "--fields", "id", "--url", served.url)
    environ = clean_environ(tmp_path)
    assert "2 of 2" in at_terminal(argv, environ, redirected=True)
    shown = at_terminal(argv, environ, redirected=False).split()
    assert (shown[0], len(shown), shown[3:]) == ("id", 5, ["2", "executions"])


@pytest.mark.parametrize("filter", [(), ("-q", "text")])
def test_a_server_that_does_not_answer_costs_the_file_nothing(
    offline: Command, tmp_path: Path, filter: tuple[str, ...]
) -> None:
    file = tmp_path / "kept.ndjson"
    file.write_text("precious\n")
    printed = offline("execution", "export", *filter, "--to", str(file), "--url", "http://127.0.0.1:9")
    assert (printed.code, file.read_text()) == (1, "precious\n")


CUT = (
    b'HTTP/1.1 200 OK\r\ncontent-length: 99\r\ncontent-type: application/x-ndjson\r\nx: event-stream\r\n\r\n{"id":1}\n'
)
"""What the scripted server gives of it before it closes the connection."""


async def test_an_export_that_is_cut_off_leaves_no_part_of_a_file(offline: Command, tmp_path: Path) -> None:
    kept = tmp_path / "kept.ndjson"
    kept.write_text("precious\n")
    for file in (kept, tmp_path / "new.ndjson"):
        async with scripted(CUT) as server:
            printed = await asyncio.to_thread(
                offline, "execution", "export", "-q", "x", "--to", str(file), "--url", server.url
            )
        assert (printed.code, f"cut off: {file} was not written" in printed.err) == (1, True), printed.err
    assert os.listdir(tmp_path) == ["kept.ndjson"]
    assert kept.read_text() == "precious\n"
    async with scripted(CUT) as server:
        printed = await asyncio.to_thread(offline, "execution", "export", "-q", "x", "--url", server.url)
    assert (printed.code, printed.out, "what was written is not all" in printed.err) == (1, '{"id":1}\n', True)


def test_a_file_keeps_its_mode_and_a_link_or_a_device_stays_one(command: Command, tmp_path: Path) -> None:
    assert command("execution", "start", "tests/greet").code == 0
    file, link = tmp_path / "all.ndjson", tmp_path / "link"
    file.touch(0o640)
    link.symlink_to(file)
    assert command("execution", "export", "--to", str(file)).code == 0
    assert (file.stat().st_mode & 0o777, file.read_text()[:1]) == (0o640, "{")
    file.write_text("")
    assert command("execution", "export", "--to", str(link)).code == 0
    assert (link.is_symlink(), file.read_text()[:1]) == (True, "{")
    printed = command("execution", "export", "--to", "/dev/stdout")
    assert (printed.code, len(printed.lines)) == (0, len(file.read_text().splitlines()))
    nowhere = command("execution", "export", "--to", str(tmp_path / "none" / "x"))
    assert (nowhere.code, "--to: " in nowhere.err) == (2, True)
