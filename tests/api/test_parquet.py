"""Exports as Parquet: the same as in other formats, in typed columns, and in bounded memory."""

from __future__ import annotations

import io
import json
import random
import sys
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perdure.api.parquet import GROUP_BYTES, NUMBERS, TIMES, ParquetWriter
from tests.api.world import World


async def test_it_holds_what_ndjson_holds_in_typed_columns(world: World) -> None:
    for n in range(260):
        await world.finished("api/quick", {"n": n}, tags={"kept": "columns"})
    await world.finished("api/fails", tags={"kept": "columns"})
    lines = (await world.ask("GET", "/executions/export?tag=kept:columns")).text.splitlines()
    answer = await world.ask("GET", "/executions/export?tag=kept:columns&format=parquet")
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert answer.headers["content-disposition"] == 'attachment; filename="executions.parquet"'
    table = pq.read_table(io.BytesIO(answer.content))
    assert [_read(row) for row in table.to_pylist()] == [json.loads(line) for line in lines]
    assert {str(table.schema.field(name).type) for name in TIMES} == {"timestamp[us, tz=UTC]"}
    assert {str(table.schema.field(name).type) for name in NUMBERS} == {"int64"}


def _read(row: dict[str, Any]) -> dict[str, Any]:
    """A row as NDJSON has it."""
    for name, value in row.items():
        if isinstance(value, datetime):
            row[name] = f"{value:%Y-%m-%dT%H:%M:%S.%f}Z"
        elif name in ("tags", "trigger", "requires", "input", "output", "error") and value is not None:
            row[name] = json.loads(value)
    return row


async def test_nothing_found_is_a_file_without_rows(world: World) -> None:
    answer = await world.ask("GET", "/executions/export?flow=api/nobody&format=parquet&fields=id,input")
    table = pq.read_table(io.BytesIO(answer.content))
    assert (table.num_rows, table.column_names) == (0, ["id", "input"])
    assert (await world.ask("HEAD", "/executions/export?format=parquet")).text == ""


async def test_a_server_without_pyarrow_says_what_to_install(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = await world.ask("GET", "/executions/export?format=parquet")
    assert (answer.status_code, answer.json()["code"]) == (501, "extra_missing")
    assert "pip install 'perdure[parquet]'" in answer.json()["detail"]
    assert (await world.ask("GET", "/executions/export?format=csv")).status_code == 200


def test_memory_is_bounded_by_a_row_group() -> None:
    draws = random.Random(3)
    writer = ParquetWriter(["id", "number", "created_at", "input", "duration_ms"])
    before = pa.total_allocated_bytes()
    file = io.BytesIO()
    file.write(writer.head())
    sizes = []
    for page in range(40):
        rows = [
            {
                "id": str(n), "number": n, "created_at": "2026-01-02T03:04:05.000006Z", "duration_ms": None,
                "input": {"text": draws.randbytes(4_096).hex()},
            }
            for n in range(page * 250, page * 250 + 250)
        ]  # fmt: skip
        sizes.append(file.write(writer.rows(rows)))
        assert pa.total_allocated_bytes() - before < 2 * GROUP_BYTES
    file.write(writer.end())
    groups = pq.ParquetFile(file).num_row_groups
    assert groups == sum(size > GROUP_BYTES / 8 for size in sizes) + 1 == 5
    assert pq.read_table(file).column("number").to_pylist() == [*range(10_000)]
