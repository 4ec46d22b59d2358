"""A SQLite store that was copied to another place and is not to be used here any more: a file beside it says so."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from perdure.errors import StoreMoved


class _Moved(msgspec.Struct):
    to: str


def retire(database: Path, *, to: str) -> None:
    """Let `SqliteStore` refuse this file from now on; `to` is the new place, for people, without credentials."""
    mark = _mark(database)
    draft = mark.with_name(f"{mark.name}.new")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(_Moved(to)))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(mark)


def refuse_moved(database: Path) -> None:
    """Raises `StoreMoved`."""
    mark = _mark(database)
    if not mark.exists():
        return
    try:
        to = msgspec.json.decode(mark.read_bytes(), type=_Moved).to
    except (OSError, msgspec.DecodeError):
        to = "another place"
    raise StoreMoved(
        f"{database} was moved to {to}: use that one (--store). To go on here all the same, with executions that "
        f"may go on there too, remove {mark}",
        path=str(database),
        to=to,
    )


def _mark(database: Path) -> Path:
    return database.with_name(database.name + ".moved")
