"""Exported executions as Parquet (parquet.apache.org/docs/file-format), written by pyarrow, which is an extra."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import msgspec

from perdure.errors import ExtraMissing

GROUP_BYTES = 16 * 1024 * 1024
"""A row group is written once its columns are so large in memory."""
GROUP_ROWS = 100_000
NUMBERS = frozenset({"number", "flow_version", "priority", "recoveries"})
TIMES = frozenset({"created_at", "queued_at", "started_at", "finished_at", "updated_at", "deadline_at"})
VALUES = frozenset({"input", "output", "error"})


class ParquetWriter:
    """Columns of integers, doubles and times (microseconds, UTC); all else is text, and nested values are JSON.

    It holds one row group, and of each one that is written a few kilobytes for the file's footer.
    """

    media_type = b"application/vnd.apache.parquet"
    extension = "parquet"

    def __init__(self, fields: Sequence[str]) -> None:
        """Importing pyarrow takes a part of a second. Raises `ExtraMissing` where it is not installed."""
        try:
            self._arrow: Any = import_module("pyarrow")
            parquet: Any = import_module("pyarrow.parquet")
        except ImportError:
            raise ExtraMissing(
                "exports as Parquet need pyarrow, which is not installed where the server runs: "
                "pip install 'perdure[parquet]' there, or take ndjson, csv or json",
                extra="parquet",
            ) from None
        self._sink = _Sink()
        self._schema = self._arrow.schema([(field, self._type(field)) for field in fields])
        self._file = parquet.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            # Nobody looks for the least and greatest of all JSON texts, and the footer would hold them.
            write_statistics=[field for field in fields if field not in VALUES],
        )
        self._batches: list[Any] = []
        self._bytes = self._rows = 0

    def head(self) -> bytes:
        return self._sink.take()

    def rows(self, rows: Sequence[dict[str, Any]]) -> bytes:
        columns = [self._column(field.name, [row[field.name] for row in rows]) for field in self._schema]
        batch = self._arrow.record_batch(columns, schema=self._schema)
        self._batches.append(batch)
        self._bytes += batch.nbytes
        self._rows += batch.num_rows
        if self._bytes >= GROUP_BYTES or self._rows >= GROUP_ROWS:
            self._write_group()
        return self._sink.take()

    def end(self) -> bytes:
        self._write_group()
        self._file.close()
        return self._sink.take()

    def _write_group(self) -> None:
        if self._batches:
            self._file.write_table(self._arrow.Table.from_batches(self._batches), row_group_size=GROUP_ROWS * 2)
        self._batches = []
        self._bytes = self._rows = 0

    def _type(self, field: str) -> Any:
        if field in TIMES:
            return self._arrow.timestamp("us", tz="UTC")
        if field in NUMBERS:
            return self._arrow.int64()
        return self._arrow.float64() if field == "duration_ms" else self._arrow.string()

    def _column(self, field: str, values: list[Any]) -> Any:
        if field in TIMES:
            return self._arrow.array(values, self._arrow.string()).cast(self._type(field))
        if field not in NUMBERS and field != "duration_ms":
            values = [_text(value) for value in values]
        return self._arrow.array(values, self._type(field))


class _Sink(io.RawIOBase):
    """What pyarrow writes, until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._written.append(piece)
        return len(piece)

    def take(self) -> bytes:
        piece = b"".join(self._written)
        self._written.clear()
        return piece


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
