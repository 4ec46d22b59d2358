"""`perdure execution export` into a file: what is told of it, and what is lost to a server that does not answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command


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


@pytest.mark.parametrize("filter", [(), ("-q", "text")])
def test_a_server_that_does_not_answer_costs_the_file_nothing(
    offline: Command, tmp_path: Path, filter: tuple[str, ...]
) -> None:
    file = tmp_path / "kept.ndjson"
    file.write_text("precious\n")
    printed = offline("execution", "export", *filter, "--to", str(file), "--url", "http://127.0.0.1:9")
    assert (printed.code, file.read_text()) == (1, "precious\n")
