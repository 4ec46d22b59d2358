"""Whether two streams of rows are the same."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from perdure.base.ids import id_text
from perdure.errors import CopyDiffers
from perdure.store.copying.interface import Copied, Row
from perdure.store.copying.tables import Table

_ID_BYTES = 16
_encoder = msgspec.msgpack.Encoder()


async def compare(
    table: Table,
    columns: Sequence[str],
    before: AsyncIterator[list[Row]],
    after: AsyncIterator[list[Row]],
    seen: Callable[[int], None],
) -> Copied:
    """Count and hash the rows of both, which come in the order of the table's key; `seen` hears of each some.

    A row's canonical form is the MessagePack of its values in the order of `columns`.

    Raises:
        CopyDiffers: it names the first row that is not the same.
    """
    digest = hashlib.sha256()
    count = 0
    left: list[Row] = []
    right: list[Row] = []
    while True:
        left = left or await anext(before, [])
        right = right or await anext(after, [])
        same = min(len(left), len(right))
        if not same:
            break
        if left[:same] != right[:same]:
            raise _difference(table, columns, left, right)
        digest.update(b"".join(map(_encoder.encode, left[:same])))
        count += same
        seen(same)
        left, right = left[same:], right[same:]
    if left or right:
        raise _difference(table, columns, left, right)
    return Copied(rows=count, sha256=digest.hexdigest())


def key_text(table: Table, columns: Sequence[str], row: Row) -> str:
    """`execution_id 0192…, seq 7`, for messages."""
    return ", ".join(f"{name} {_shown(row[columns.index(name)])}" for name in table.key)


def _difference(table: Table, columns: Sequence[str], left: list[Row], right: list[Row]) -> CopyDiffers:
    place = next((at for at, (one, other) in enumerate(zip(left, right, strict=False)) if one != other), 0)
    if not left:
        row, what = right[place], "is only in the copy"
    elif not right:
        row, what = left[place], "is missing in the copy"
    else:
        row, other = left[place], right[place]
        places = [columns.index(name) for name in table.key]
        key, other_key = [row[at] for at in places], [other[at] for at in places]
        if key == other_key:
            names = [name for name, one, two in zip(columns, row, other, strict=True) if one != two]
            what = f"has another {' and '.join(names)} in the copy"
        elif key < other_key:
            what = "is missing in the copy"
        else:
            row, what = other, "is only in the copy"
    key_shown = key_text(table, columns, row)
    return CopyDiffers(
        f"the copy differs: the row of {table.name} with {key_shown} {what}", table=table.name, key=key_shown
    )


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return id_text(value) if len(value) == _ID_BYTES else value.hex()
    text = str(value)
    return text if text.isprintable() else repr(text)
