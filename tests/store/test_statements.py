"""Named SQL: the loader, and the agreement between statements, shapes and the rows of the procedures."""

import re

import pytest

from perdure.store.procedures.context import Standing
from perdure.store.statements import Column, library, parse

SHAPES = {"thing": (Column("t.a", "uuid"), Column("t.b", "text"))}


def test_a_statement_is_read_with_its_headers() -> None:
    text = """
-- About things.

-- shape: pair = p.x bigint,
--   p.y text

-- name: things
-- rows: a uuid, b text
-- rows: c bigint
-- returns: {thing}, n bigint, {pair}
WITH {batch}
SELECT {thing}, 1, {pair} FROM batch;

-- name: two
DELETE FROM a;
DELETE FROM b;
"""
    found = parse(text, dict(SHAPES))
    things = found["things"]
    assert things.rows == (Column("a", "uuid"), Column("b", "text"), Column("c", "bigint"))
    assert [column.type for column in things.returns] == ["uuid", "text", "bigint", "bigint", "text"]
    assert things.parts == ("WITH {batch}\nSELECT t.a, t.b, 1, p.x, p.y FROM batch",)
    assert found["two"].parts == ("DELETE FROM a", "DELETE FROM b")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SELECT 1;", "before the first name"),
        ("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;", "two statements"),
        ("-- name: a\n-- name: b\nSELECT 1;", "empty"),
    ],
)
def test_a_bad_file_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(text, {})


def test_every_statement_uses_the_rows_that_it_declares() -> None:
    for statement in library("sqlite").statements.values():
        uses = any("{batch}" in part or "{insert}" in part for part in statement.parts)
        assert uses == bool(statement.rows), statement.name


def test_every_query_declares_what_it_returns() -> None:
    for statement in library("sqlite").statements.values():
        for part in statement.parts:
            changes = re.search(r"^(INSERT|UPDATE|DELETE)\b", part, re.MULTILINE)
            assert (changes is None) == bool(statement.returns), statement.name


def test_the_standing_has_the_columns_of_its_shape() -> None:
    names = [column.name.removeprefix("e.") for column in library("sqlite").shapes["standing"]]
    assert names == list(Standing._fields)
