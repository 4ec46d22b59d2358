"""Bringing a store's tables up to date, and what that means for the programs that use it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from perdure.errors import StoreError, StoreIncompatible
from perdure.store.postgres.connection import MIGRATING, Connection, connect, local_settings
from perdure.store.postgres.failures import translated
from perdure.store.postgres.migrate import Schema, bring_up, migrations, read_schema
from perdure.store.postgres.url import Address
from perdure.store.sqlite import migrate as sqlite
from perdure.store.sqlite.connection import open_reader, open_writer, refuse_foreign_file, refuse_unsafe_library
from perdure.store.sqlite.lock import OwnerLock
from perdure.store.sqlite.store import keep_private, make_folder

SILENT_US = 60_000_000
"""Without a sign of life for so long (microseconds), a worker is no more."""

_WORKERS = """
SELECT k.name, k.host, k.version FROM workers AS k
WHERE k.stopped_at IS NULL AND k.heartbeat_at >= (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint - $1::bigint
ORDER BY k.number
"""


class LivingWorker(msgspec.Struct, frozen=True):
    name: str
    host: str
    version: str


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, or with a dry run would be. Schemas are numbers; 0 is a store that has nothing yet.

    `workers` are those that were alive before; where `needs` is set, programs that do not know that schema cannot go
    on, and some of these workers may be of that kind.
    """

    place: str
    before: int
    after: int
    migrations: list[str]
    dry_run: bool
    workers: list[LivingWorker] = []
    needs: int | None = None


async def migrate_store(place: Path | Address, *, dry_run: bool = False) -> Migrated:
    """Any number of processes may do it at once; whoever is killed in the middle left nothing half done.

    Raises:
        StoreIncompatible: a newer perdure's schema, another program's database, or an unfit server.
        StoreLocked: a process owns the SQLite file; it has brought it up to date when it began.
        StoreUnavailable, StoreBusy, StoreFull
    """
    if isinstance(place, Path):
        return await asyncio.to_thread(_migrate_file, place, dry_run)
    return await _migrate_database(place, dry_run=dry_run)


async def _migrate_database(address: Address, *, dry_run: bool) -> Migrated:
    schema, workers = await _looked_at(address)
    pending = migrations()[schema.number :]
    if not dry_run:
        await bring_up(address, migrations())
    needed = max((one.usable_since for one in pending), default=0)
    return Migrated(
        place=address.place,
        before=schema.number,
        after=schema.number + len(pending),
        migrations=[f"{one.number:04}_{one.name}" for one in pending],
        dry_run=dry_run,
        workers=workers if pending else [],
        needs=needed if needed > schema.usable_since else None,
    )


async def _looked_at(address: Address) -> tuple[Schema, list[LivingWorker]]:
    connection = await connect(address, MIGRATING, name="perdure migrations")
    try:
        schema = await read_schema(connection, address)
        await connection.execute(f"BEGIN{local_settings(address, MIGRATING)}")
        return schema, await _living(connection)
    except StoreError:
        raise
    except Exception as error:
        raise translated(error, address.place) or error from error
    finally:
        connection.terminate()


async def _living(connection: Connection) -> list[LivingWorker]:
    if await connection.fetchval("SELECT to_regclass('workers')") is None:
        return []
    return [LivingWorker(*row) for row in await connection.fetch(_WORKERS, SILENT_US)]


def _migrate_file(path: Path, dry_run: bool) -> Migrated:
    refuse_unsafe_library()
    before = _file_schema(path)
    known = sqlite.migrations()
    if before > known[-1].number:
        raise StoreIncompatible(
            f"{path} has schema {before}, this perdure knows {known[-1].number}: it was written by a newer one",
            path=str(path),
            schema=before,
        )
    if not dry_run:
        make_folder(path)
        lock = OwnerLock(path)
        try:
            keep_private(path)
            connection = open_writer(path)
            try:
                sqlite.migrate(connection, path, known)
            finally:
                connection.close()
        finally:
            lock.release()
    return Migrated(
        place=str(path),
        before=before,
        after=known[-1].number,
        migrations=[f"{one.number:04}_{one.name}" for one in known[before:]],
        dry_run=dry_run,
    )


def _file_schema(path: Path) -> int:
    refuse_foreign_file(path)
    if not path.exists() or not path.stat().st_size:
        return 0
    connection = open_reader(path)
    try:
        return sqlite.schema_version(connection)
    finally:
        connection.close()
