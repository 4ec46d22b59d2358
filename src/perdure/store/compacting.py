"""Giving back the space that deleted rows have left."""

from __future__ import annotations

from pathlib import Path

import msgspec

from perdure.errors import StoreUnavailable
from perdure.store.copying.places import Place
from perdure.store.copying.postgres_session import Session
from perdure.store.copying.sqlite_source import Thread
from perdure.store.copying.tables import TABLES
from perdure.store.postgres.migrate import refuse_older
from perdure.store.postgres.url import Address
from perdure.store.sqlite.connection import open_writer, refuse_foreign_file, refuse_unsafe_library
from perdure.store.sqlite.lock import OwnerLock

_SIZE = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = c.relnamespace
WHERE s.nspname = $1 AND c.relkind IN ('r', 'm')
"""


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """What the store takes before and after, in bytes."""

    place: str
    before_bytes: int
    after_bytes: int


async def compact_store(place: Place) -> Compacted:
    """A file is written anew without its holes, while nobody else has it: that needs as much space again for a while.

    A database gets VACUUM and ANALYZE, table by table, and all who use it go on: deleted rows make room for new ones,
    and only what is free at the end of a table goes back to the system.

    Raises `StoreLocked` for a file that a process owns, `StoreFull`, `StoreDamaged`, `StoreUnavailable`.
    """
    if isinstance(place, Path):
        return await _compact_file(place)
    return await _compact_database(place)


async def _compact_file(path: Path) -> Compacted:
    before = _size_of(path)
    refuse_unsafe_library()
    refuse_foreign_file(path)
    lock = OwnerLock(path)
    thread = Thread(path)
    try:
        connection = await thread.run(open_writer, path)
        thread.interrupt = connection.interrupt
        try:
            await thread.run(connection.execute, "VACUUM")
            await thread.run(connection.pragma, "wal_checkpoint", "truncate")
        finally:
            await thread.run(connection.close)
    finally:
        thread.close()
        lock.release()
    return Compacted(place=str(path), before_bytes=before, after_bytes=_size_of(path))


def _size_of(path: Path) -> int:
    if not path.exists():
        raise StoreUnavailable(f"there is no store at {path}", path=str(path))
    return path.stat().st_size


async def _compact_database(address: Address) -> Compacted:
    session = await Session.open(address)
    try:
        refuse_older(await session.schema(), address)
        before = int(await session.value(_SIZE, address.schema))
        for table in TABLES:
            await session.run(f'VACUUM (ANALYZE) "{address.schema}".{table.name}')
        after = int(await session.value(_SIZE, address.schema))
    finally:
        session.close()
    return Compacted(place=address.place, before_bytes=before, after_bytes=after)
