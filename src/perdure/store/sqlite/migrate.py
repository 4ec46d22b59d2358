"""Numbered migrations, each in one transaction: a process killed in the middle left nothing, and begins anew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import apsw

from perdure.errors import StoreIncompatible
from perdure.store.faults import reach
from perdure.store.sqlite.connection import APPLICATION_ID

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(NamedTuple):
    number: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Those of this version of perdure, in order; their numbers have no gaps."""
    folder = files("perdure.store").joinpath("migrations", "sqlite")
    found = [
        Migration(int(match[1]), match[2], item.read_text(encoding="utf-8"))
        for item in folder.iterdir()
        if (match := _FILE.fullmatch(item.name))
    ]
    found.sort()
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    return tuple(found)


def schema_version(connection: apsw.Connection) -> int:
    version = connection.pragma("user_version")
    assert isinstance(version, int)
    return version


def migrate(connection: apsw.Connection, path: Path, known: Sequence[Migration]) -> int:
    """Bring the schema to the newest version.

    Returns:
        how many migrations were applied.

    Raises:
        StoreIncompatible: the file was written by a newer perdure.
    """
    applied = 0
    newest = known[-1].number
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            current = schema_version(connection)
            if current > newest:
                raise StoreIncompatible(
                    f"{path} has schema {current}, this perdure knows {newest}: it was written by a newer one; "
                    "run that, or restore a backup from before",
                    path=str(path),
                    schema=current,
                )
            if current == newest:
                connection.execute("ROLLBACK")
                return applied
            following = known[current]
            connection.execute(following.sql)
            reach("migration")
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", following.number)
            connection.execute("COMMIT")
            applied += 1
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
