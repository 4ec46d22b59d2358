"""Carries out what procedures request, on one connection.

Rows travel in few, large steps. A multi-row statement binds up to 256 rows and then runs wholly
without the interpreter's lock; a query answers with one JSON text instead of row by row, because
every row would have to win that lock anew: with a busy event loop that costs milliseconds each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from perdure.store.sqlite.failures import translated
from perdure.store.statements import (
    BYTES_TYPES,
    All,
    Column,
    Library,
    Lock,
    Many,
    Procedure,
    Query,
    Request,
    Savepoint,
    T,
)

MOST_ROWS = 256
LONGEST_SQL = 16_000
"""Characters; longer statements are not kept by the statement cache."""

_BY = re.compile(r"\{by (\w+)\}")

_decode = msgspec.json.Decoder(list[list[Any]]).decode


def answers_with_rows(sql: str) -> bool:
    """Whether it is a query: WITH leads to either."""
    return re.search(r"^\s*(INSERT|UPDATE|DELETE)\b", sql, re.MULTILINE) is None


def as_one_text(sql: str, returns: Sequence[Column]) -> str:
    """The query wrapped so that all of its rows come as one JSON array of arrays, bytes in hex."""
    names = [f"c{index}" for index in range(len(returns))]
    items = [
        f"hex({name})" if column.type in BYTES_TYPES else name for name, column in zip(names, returns, strict=True)
    ]
    return f"WITH answer ({', '.join(names)}) AS ({sql}) SELECT json_group_array(json_array({', '.join(items)})) FROM answer"  # noqa: S608


def spelt(sql: str) -> str:
    """In the shared text `{+}` keeps a planner from driving by that condition, `{by NAME}` has it drive by that index."""
    return _BY.sub(r"INDEXED BY \1", sql.replace("{+}", "+"))


def bytes_positions(returns: Sequence[Column]) -> tuple[int, ...]:
    return tuple(index for index, column in enumerate(returns) if column.type in BYTES_TYPES)


class Compiled:
    """One part of a named statement, ready for any number of rows."""

    def __init__(self, sql: str, rows: Sequence[Column], returns: Sequence[Column]) -> None:
        self.is_query = answers_with_rows(sql)
        self._sql = spelt(as_one_text(sql, returns) if self.is_query else sql)
        self.bytes_at = bytes_positions(returns)
        names = ", ".join(column.name for column in rows)
        self._row = f"({', '.join('?' * len(rows))})"
        self._batch = f"batch ({names}) AS (VALUES {{values}})"
        self._insert = f"({names}) VALUES {{values}}"
        fits = max((LONGEST_SQL - len(sql)) // (len(self._row) + 1), 1)
        self.most_rows = min(MOST_ROWS, 1 << (fits.bit_length() - 1))
        self._sized: dict[int, str] = {}

    def sql(self, count: int = 0) -> str:
        """The text for so many rows, a power of two; 0 for a statement with single parameters."""
        found = self._sized.get(count)
        if found is None:
            values = ",".join([self._row] * count)
            found = self._sql.replace("{batch}", self._batch.replace("{values}", values))
            found = found.replace("{insert}", self._insert.replace("{values}", values))
            self._sized[count] = found
        return found


class Runner:
    """Runs procedures to their end on one connection; used by one thread at a time."""

    def __init__(self, connection: apsw.Connection, library: Library, path: Path) -> None:
        self.connection = connection
        self._path = path
        self._compiled = {
            name: [Compiled(part, statement.rows, statement.returns) for part in statement.parts]
            for name, statement in library.statements.items()
        }

    def run(self, procedure: Procedure[T]) -> T:
        """Errors of the database are raised inside the procedure, at its request, as those of our tree."""
        try:
            request = next(procedure)
            while True:
                try:
                    rows = self._carry_out(request)
                except Exception as error:
                    request = procedure.throw(translated(error, self._path) or error)
                else:
                    request = procedure.send(rows)
        except StopIteration as done:
            result: T = done.value
            return result

    def _carry_out(self, request: Request) -> list[Any]:
        if isinstance(request, Many):
            return self._many(request)
        if isinstance(request, All):
            answer: list[Any] = []
            for part in self._compiled[request.name]:
                answer = self._rows(part.sql(), request.params, part.is_query, part.bytes_at)
            return answer
        if isinstance(request, Query):
            sql = spelt(as_one_text(request.sql, request.returns))
            return self._rows(sql, request.params, True, bytes_positions(request.returns))
        if isinstance(request, Lock):
            return []
        assert isinstance(request, Savepoint)
        self.connection.execute(request.value)
        return []

    def _many(self, request: Many) -> list[Any]:
        answer: list[Any] = []
        for part in self._compiled[request.name]:
            answer = []
            done = 0
            left = len(request.rows)
            while left:
                count = min(part.most_rows, 1 << (left.bit_length() - 1))
                values = [value for row in request.rows[done : done + count] for value in row]
                answer += self._rows(part.sql(count), values, part.is_query, part.bytes_at)
                done += count
                left -= count
        return answer

    def _rows(self, sql: str, bindings: Any, is_query: bool, bytes_at: tuple[int, ...]) -> list[Any]:
        cursor = self.connection.execute(sql, bindings)
        if not is_query:
            return []
        rows = _decode(cursor.get)
        for position in bytes_at:
            for row in rows:
                text = row[position]
                row[position] = bytes.fromhex(text) if text else None
        return rows
