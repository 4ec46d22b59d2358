"""How exported executions look: one format after the other, each a writer of pieces."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from perdure.api.parquet import ParquetWriter

Format = Literal["ndjson", "csv", "json", "parquet"]


class Writer(Protocol):
    """Rows in, bytes out, on any thread; a piece is whole lines, where the format has lines."""

    media_type: bytes
    extension: str

    def head(self) -> bytes: ...
    def rows(self, rows: Sequence[dict[str, Any]]) -> bytes: ...
    def end(self) -> bytes: ...


class NdjsonWriter:
    """One JSON object a line."""

    media_type = b"application/x-ndjson"
    extension = "ndjson"

    def head(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[dict[str, Any]]) -> bytes:
        return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)

    def end(self) -> bytes:
        return b""


class JsonWriter:
    """One JSON array, an object a line."""

    media_type = b"application/json"
    extension = "json"

    def __init__(self) -> None:
        self._before = b"[\n"

    def head(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[dict[str, Any]]) -> bytes:
        pieces = []
        for row in rows:
            pieces.append(self._before + msgspec.json.encode(row))
            self._before = b",\n"
        return b"".join(pieces)

    def end(self) -> bytes:
        return b"[]\n" if self._before == b"[\n" else b"\n]\n"


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a text begins that a spreadsheet may take for a formula: signs, their full-width forms, and blanks before them
(owasp.org/www-community/attacks/CSV_Injection)."""


class CsvWriter:
    """RFC 4180 with a line of names; what is no text, number or boolean is JSON, and null is empty.

    A text that a spreadsheet would run, such as a key that a caller chose, has a `'` before it.
    """

    media_type = b"text/csv; charset=utf-8; header=present"
    extension = "csv"

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields

    def head(self) -> bytes:
        return self._lines([self._fields])

    def rows(self, rows: Sequence[dict[str, Any]]) -> bytes:
        return self._lines([_cell(row[field]) for field in self._fields] for row in rows)

    def end(self) -> bytes:
        return b""

    def _lines(self, lines: Any) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(lines)
        return text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value if isinstance(value, int | float) else msgspec.json.encode(value).decode()


def writer_of(format: Format, fields: Sequence[str]) -> Writer:
    """Raises `ExtraMissing`."""
    if format == "csv":
        return CsvWriter(fields)
    if format == "parquet":
        return ParquetWriter(fields)
    return JsonWriter() if format == "json" else NdjsonWriter()
