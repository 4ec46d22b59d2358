"""The comparison of two streams finds the first row that is not the same, however the streams are cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import CopyDiffers
from perdure.store.copying.comparing import compare
from perdure.store.copying.interface import Row
from perdure.store.copying.tables import Table
from tests.store.portal import call

TABLE = Table("things", ("id",))
COLUMNS = ("id", "text")
IDS = st.binary(min_size=1, max_size=3)
VALUES = st.none() | st.text(max_size=3) | st.binary(max_size=3) | st.integers(-(2**63), 2**63 - 1)
ROWS = st.dictionaries(IDS, VALUES, max_size=20).map(lambda found: sorted(found.items()))


async def stream(rows: Sequence[Row], block: int) -> AsyncIterator[list[Row]]:
    for first in range(0, len(rows), block):
        yield list(rows[first : first + block])


def compared(left: Sequence[Row], right: Sequence[Row], *, blocks: tuple[int, int] = (2, 3)) -> Any:
    seen: list[int] = []

    async def run() -> Any:
        return await compare(TABLE, COLUMNS, stream(left, blocks[0]), stream(right, blocks[1]), seen.append)

    found = call(run)
    assert sum(seen) == found.rows == len(left)
    return found


@given(ROWS, st.integers(1, 5), st.integers(1, 5))
def test_the_same_rows_are_the_same_however_they_come(rows: list[Row], one: int, other: int) -> None:
    assert compared(rows, rows, blocks=(one, other)) == compared(rows, rows)


@given(ROWS.filter(bool), st.data())
def test_a_row_that_is_missing_added_or_changed_is_named(rows: list[Row], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    id, value = rows[at]
    without = [*rows[:at], *rows[at + 1 :]]
    other = data.draw(VALUES.filter(lambda one: one != value))
    changed = [*rows[:at], (id, other), *rows[at + 1 :]]
    for left, right, what in (
        (rows, without, "is missing in the copy"),
        (without, rows, "is only in the copy"),
        (rows, changed, "has another text in the copy"),
    ):
        with pytest.raises(CopyDiffers) as caught:
            compared(left, right)
        assert caught.value.message == f"the copy differs: the row of things with id {id.hex()} {what}"
        assert caught.value.details == {"table": "things", "key": f"id {id.hex()}"}


@given(ROWS, ROWS)
def test_two_have_the_same_digest_only_if_they_are_the_same(left: list[Row], right: list[Row]) -> None:
    assert (compared(left, left).sha256 == compared(right, right).sha256) == (left == right)
