"""`perdure execution export EXECUTION --as-fixture FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from perdure.cli.drafts import opened_whole
from perdure.cli.execution.naming import named_execution
from perdure.cli.output import note, size
from perdure.client.client import AsyncClient
from perdure.wire.fixtures import Fixture


async def export_fixture(client: AsyncClient, execution_id: str, file: str) -> None:
    """Write the execution as a fixture to the file, `-` being standard output."""
    fixture = await (await named_execution(client, execution_id)).fixture()
    _write(fixture, file)


def _write(fixture: Fixture, file: str) -> None:
    data = msgspec.json.format(msgspec.json.encode(fixture), indent=2) + b"\n"
    if file == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    with opened_whole(Path(file), option="--as-fixture") as target:
        target.write(data)
    note(f"{file}: {len(fixture.runs)} node runs, {size(len(data))}\nrun it with: perdure run --fixture {file}")
