"""Named SQL: what stands in `queries/*.sql`, and the requests by which procedures name it.

A file holds statements, each under a header of comments:

    -- name: slots_put
    -- rows: execution_id uuid, rank bigint        the columns of the rows that are handed in
    -- returns: id uuid, number bigint             the columns of the rows that come back, in order
    -- nothing: why                                in a dialect's own file: here nothing is to be done
    INSERT INTO slots {insert} ON CONFLICT DO NOTHING;

`{batch}` stands for `batch(columns) AS (the rows)`, `{insert}` for `(columns) the rows`; single
parameters are written `:name`. A shape that several statements share is declared once as
`-- shape: facts = e.id uuid, …` and written `{facts}`, in the text and behind `returns:`. A
statement may consist of several, carried out in turn with the same rows; the last one answers. Types are
PostgreSQL's; SQLite needs them only to know which columns are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

Row = Sequence[Any]
BYTES_TYPES = frozenset({"uuid", "bytea"})


class Column(NamedTuple):
    name: str
    type: str


class All(NamedTuple):
    """Carry out one statement with single parameters; the answer is its rows."""

    name: str
    params: Mapping[str, Any] = {}


class Many(NamedTuple):
    """Carry out one statement for many rows at once; the answer is the rows it returns, in any order."""

    name: str
    rows: Sequence[Row]


class Query(NamedTuple):
    """A query that the filter builder put together."""

    sql: str
    params: Mapping[str, Any]
    returns: tuple[Column, ...]


class Lock(NamedTuple):
    """Be alone with these keys until the transaction ends; a database that has one writer does nothing."""

    kind: str
    keys: Sequence[tuple[str, ...]]


class Savepoint(Enum):
    """Bounds of a part of the transaction that may be undone alone."""

    SAVE = "SAVEPOINT part"
    KEEP = "RELEASE part"
    UNDO = "ROLLBACK TO part"


Request = All | Many | Query | Lock | Savepoint
Procedure = Generator[Request, list[Any], T]
"""Transactional logic without I/O: yields requests, is sent their rows, returns its result."""


class Statement(NamedTuple):
    name: str
    parts: tuple[str, ...]
    rows: tuple[Column, ...]
    returns: tuple[Column, ...]


class Library(NamedTuple):
    """All statements by name, and the shapes by which they share columns."""

    statements: Mapping[str, Statement]
    shapes: Mapping[str, tuple[Column, ...]]

    def shape_sql(self, name: str) -> str:
        return ", ".join(column.name for column in self.shapes[name])


_HEADER = re.compile(r"--\s*(name|rows|returns|shape|nothing):\s*(.*)")
_SHAPE = re.compile(r"\{(\w+)\}")


def _columns(text: str, shapes: Mapping[str, tuple[Column, ...]]) -> Iterable[Column]:
    for item in filter(None, (part.strip() for part in text.split(","))):
        if item.startswith("{"):
            yield from shapes[item[1:-1]]
        else:
            name, _, kind = item.rpartition(" ")
            yield Column(name.strip(), kind)


class _Draft:
    """A statement while its lines are read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.headers = {"rows": "", "returns": ""}
        self.is_nothing = False

    def finish(self, shapes: Mapping[str, tuple[Column, ...]]) -> Statement:
        text = "\n".join(self.lines)

        def spell(match: re.Match[str]) -> str:
            shape = shapes.get(match[1])
            return match[0] if shape is None else ", ".join(column.name for column in shape)

        parts = tuple(part.strip() for part in _SHAPE.sub(spell, text).split(";") if part.strip())
        if bool(parts) is self.is_nothing:
            raise ValueError(f"statement {self.name!r} is empty, or has text though it says that nothing is to be done")
        return Statement(
            self.name,
            parts,
            tuple(_columns(self.headers["rows"], shapes)),
            tuple(_columns(self.headers["returns"], shapes)),
        )


def parse(text: str, shapes: dict[str, tuple[Column, ...]]) -> dict[str, Statement]:
    """The statements of one file; shapes declared in it are added to `shapes`.

    Raises ValueError for a name given twice or text outside a statement.
    """
    drafts: dict[str, _Draft] = {}
    draft: _Draft | None = None
    shape: str | None = None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header is None:
            if not line.strip():
                shape = None
            elif shape is not None and line.startswith("--"):
                shapes[shape] += tuple(_columns(line.lstrip("- "), shapes))
            elif not line.startswith("--"):
                if draft is None:
                    raise ValueError(f"SQL before the first name: {line!r}")
                draft.lines.append(line)
            continue
        kind, rest = header.groups()
        shape = None
        if kind == "shape":
            shape, _, columns = (piece.strip() for piece in rest.partition("="))
            shapes[shape] = tuple(_columns(columns, shapes))
        elif kind == "name":
            if rest in drafts:
                raise ValueError(f"two statements are named {rest!r}")
            draft = drafts[rest] = _Draft(rest)
        elif draft is not None and kind == "nothing":
            draft.is_nothing = True
        elif draft is not None:
            draft.headers[kind] += "," + rest
    return {name: found.finish(shapes) for name, found in drafts.items()}


@cache
def library(dialect: str) -> Library:
    """The shared statements, with those in the folder named `dialect` in the place of their namesakes."""
    shapes: dict[str, tuple[Column, ...]] = {}
    found: dict[str, Statement] = {}
    folder = files("perdure.store").joinpath("queries")
    shared = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    for item in shared:
        statements = parse(item.read_text(encoding="utf-8"), shapes)
        if doubles := found.keys() & statements.keys():
            raise ValueError(f"{item.name} names {sorted(doubles)} again")
        found |= statements
    own = folder.joinpath(dialect)
    if own.is_dir():
        for item in sorted(own.iterdir(), key=lambda item: item.name):
            if item.name.endswith(".sql"):
                found |= parse(item.read_text(encoding="utf-8"), shapes)
    return Library(found, shapes)
