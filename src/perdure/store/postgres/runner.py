"""Carries out what procedures request, on one connection.

Rows travel as one array for each column, so that a statement has one text, and one plan, whatever the
number of its rows. Changes that answer nothing are kept back until something must come after them, and then go
together: a procedure hears of their refusal later than it asked for them, or not at all.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from perdure.store.postgres.connection import Connection
from perdure.store.postgres.failures import translated
from perdure.store.postgres.gathering import MOST_TEXTS, together, traits
from perdure.store.statements import All, Library, Lock, Many, Procedure, Query, Request, Savepoint, Statement, T

MOST_ROWS = 4_096
"""Of one statement; with the longest values that is far from what a message may hold."""
LOCK_CLASSES = {"limit": 0x70640001, "rate": 0x70640002, "fold": 0x70640003}
LOCK_SLOTS = 1_024
"""Keys share so many locks of a class, since those of a transaction all stand in the server's memory."""
_LOCK = "SELECT pg_advisory_xact_lock($1, k) FROM unnest($2::integer[]) AS k"

_PARAMETER = re.compile(r"(?<!:):([a-z_]\w*)")
_FIXED_ORDER = re.compile(r"\bCROSS JOIN(?=\s+\w+ AS \w+\s+ON\b)")
_HINT = re.compile(r"\{\+\}| ?\{by \w+\}")
_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE)\b(?!\s+SKIP)")


class Compiled(NamedTuple):
    """One part of a statement: its text, which of its parameters come in which order, and whether it changes rows."""

    sql: str
    order: tuple[str, ...]
    writes: bool


def numbered(sql: str, types: Mapping[str, str] | None = None) -> tuple[str, tuple[str, ...]]:
    """`:name` as `$n`; with `types`, as an array of that type. Returns the text and the names in order."""
    names: dict[str, int] = {}

    def spell(match: re.Match[str]) -> str:
        name = match[1]
        place = names.setdefault(name, len(names) + 1)
        return f"${place}" if types is None else f"${place}::{types[name]}[]"

    text = _PARAMETER.sub(spell, _HINT.sub("", _FIXED_ORDER.sub("JOIN", sql)))
    return text, tuple(names)


def compiled(statement: Statement) -> list[Compiled]:
    """In PostgreSQL's words: SQLite's CROSS JOIN … ON fixes an order, which here is for the planner to find."""
    columns = [column.name for column in statement.rows]
    types = {column.name: column.type for column in statement.rows} or None
    arrays = ", ".join(f":{name}" for name in columns)
    names = ", ".join(columns)
    found = []
    for part in statement.parts:
        text = part.replace("{batch}", f"batch ({names}) AS (SELECT * FROM unnest({arrays}))")  # noqa: S608
        text = text.replace("{insert}", f"({names}) SELECT * FROM unnest({arrays})")  # noqa: S608
        sql, order = numbered(text, types)
        found.append(Compiled(sql, order, _WRITES.search(_without_locks(part)) is not None))
    return found


def _without_locks(sql: str) -> str:
    return re.sub(r"\bFOR (NO KEY )?UPDATE\b", "", sql)


@cache
def _numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    return numbered(sql)


class Statements:
    """All statements of a library, ready to be run; shared by the connections of a store."""

    def __init__(self, library: Library) -> None:
        self.compiled = {name: compiled(statement) for name, statement in library.statements.items()}
        self._columns = {
            name: {column.name: index for index, column in enumerate(statement.rows)}
            for name, statement in library.statements.items()
        }

        self._parts = {name: statement.parts for name, statement in library.statements.items()}
        self.traits = {name: traits(statement) for name, statement in library.statements.items()}
        self._together: dict[tuple[str, ...], str] = {}

    def literal(self, name: str, numbers: Mapping[str, int]) -> str:
        """The text of a statement of one part with integers in the place of its parameters, to be sent with others."""
        (text,) = self._parts[name]
        return _PARAMETER.sub(lambda match: str(int(numbers[match[1]])), text)

    def arrays(self, name: str, order: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Any]:
        columns = list(zip(*rows, strict=True))
        places = self._columns[name]
        return [columns[places[column]] for column in order]

    def together(self, names: tuple[str, ...]) -> str | None:
        """One text of several plain statements, with the parameters of one after those of the other; None for a rare one."""
        found = self._together.get(names)
        if found is None and len(self._together) < MOST_TEXTS:
            found = self._together[names] = together(
                [
                    (f"{name}_{number}" if number else name, part.sql, len(part.order))
                    for name in names
                    for number, part in enumerate(self.compiled[name])
                ]
            )
        return found


class Runner:
    """Runs procedures to their end."""

    def __init__(self, connection: Connection, statements: Statements, place: str, *, one_by_one: bool = False) -> None:
        """`one_by_one`: each request is carried out before the procedure goes on, so that it hears what becomes of it."""
        self.has_written = False
        self._one_by_one = one_by_one
        self._gathered: list[Many] = []
        self._gathered_tables: set[str] = set()
        self._connection = connection
        self._statements = statements
        self._place = place

    async def run(self, procedure: Procedure[T]) -> T:
        """Errors of the database are raised inside the procedure, at one of its requests, as those of our tree."""
        # What a procedure that failed had kept back is not the next one's.
        self._gathered, self._gathered_tables = [], set()
        result = await self._drive(procedure)
        try:
            await self._send_gathered()
        except Exception as error:
            raise translated(error, self._place) or error from error
        return result

    async def _drive(self, procedure: Procedure[T]) -> T:
        try:
            request = next(procedure)
            while True:
                try:
                    rows = await self._carry_out(request)
                except Exception as error:
                    request = procedure.throw(translated(error, self._place) or error)
                else:
                    request = procedure.send(rows)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _carry_out(self, request: Request) -> list[Any]:
        if isinstance(request, Many):
            traits = self._statements.traits[request.name]
            if not self._gathered_tables.isdisjoint(traits.words):
                await self._send_gathered()
            if traits.is_plain and not self._one_by_one and len(request.rows) <= MOST_ROWS:
                self._gathered.append(request)
                self._gathered_tables |= traits.written
                return []
            return await self._many(request)
        await self._send_gathered()
        fetch = self._connection.fetch
        if isinstance(request, All):
            answer: list[Any] = []
            for sql, order, writes in self._statements.compiled[request.name]:
                answer = await fetch(sql, *[request.params[name] for name in order])
                self.has_written |= writes and _has_changed(sql, answer)
            return answer
        if isinstance(request, Query):
            sql, order = _numbered(request.sql)
            return await fetch(sql, *[request.params[name] for name in order])
        if isinstance(request, Lock):
            await fetch(_LOCK, LOCK_CLASSES[request.kind], lock_slots(request.keys))
            return []
        assert isinstance(request, Savepoint)
        await self._connection.execute(request.value)
        return []

    async def _send_gathered(self) -> None:
        gathered, self._gathered, self._gathered_tables = self._gathered, [], set()
        sql = self._statements.together(tuple(one.name for one in gathered)) if len(gathered) > 1 else None
        if sql is None:
            for request in gathered:
                await self._many(request)
            return
        arrays: list[Any] = []
        for name, rows in gathered:
            for part in self._statements.compiled[name]:
                arrays += self._statements.arrays(name, part.order, rows)
        self.has_written = True
        await self._connection.fetch(sql, *arrays)

    async def _many(self, request: Many) -> list[Any]:
        rows = request.rows
        answer: list[Any] = []
        for sql, order, writes in self._statements.compiled[request.name]:
            answer = []
            for first in range(0, len(rows), MOST_ROWS):
                arrays = self._statements.arrays(request.name, order, rows[first : first + MOST_ROWS])
                answer += await self._connection.fetch(sql, *arrays)
            self.has_written |= writes and _has_changed(sql, answer)
        return answer


def _has_changed(sql: str, answer: Sequence[Any]) -> bool:
    """A statement that tells what it changed, and tells nothing, changed nothing: looks of loops are mostly such."""
    return bool(answer) or "RETURNING" not in sql


def lock_slots(keys: Sequence[tuple[str, ...]]) -> list[int]:
    """The locks for these keys, in the order in which everybody takes them."""
    return sorted({zlib.crc32("\0".join(key).encode("utf-8", "surrogatepass")) % LOCK_SLOTS for key in keys})
