"""A store made from a backup."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from perdure.base.clock import Clock
from perdure.errors import BackupBroken, StoreIncompatible, StoreUnavailable
from perdure.store.backups.drafts import opened_draft
from perdure.store.backups.manifest import CONTENTS, DATABASE, Manifest, file_sha256, read_manifest
from perdure.store.backups.take import StorageAt
from perdure.store.copying.copier import copy_store
from perdure.store.copying.folders import Folders
from perdure.store.copying.interface import Copy, Source, Watcher
from perdure.store.copying.missing import named
from perdure.store.copying.places import Place, opened_target
from perdure.store.copying.sqlite_source import SqliteSource
from perdure.store.sqlite.connection import open_writer
from perdure.store.sqlite.migrate import migrate, migrations

_PREFIX = ".perdure-restore-"


async def restore_backup(
    backup: Path,
    place: Place,
    *,
    folders: Folders,
    storage: StorageAt,
    chunk_bytes: int,
    clock: Clock,
    watcher: Watcher,
) -> Copy:
    """Make the store at `place` from a backup, which is only read, and compare both. It is there when it is whole.

    A backup of an older perdure's store gets the tables of this one. Whoever follows the feed of the store that was is
    told that it does not go on.

    Args:
        folders: where the store's contents will lie.
        storage: keeps contents in that folder.
        chunk_bytes: into which contents in tables are cut.

    Raises:
        BackupBroken: it is not whole, or not what it was.
        StoreNotEmpty: there is something at `place`.
        StoreIncompatible: a newer perdure made the backup.
        StoreDamaged, StoreError
    """
    manifest = read_manifest(backup)
    newest = migrations()[-1].number
    if manifest.schema > newest:
        raise StoreIncompatible(
            f"the backup {backup} has schema {manifest.schema}, this perdure knows {newest}: a newer one must restore it",
            schema=manifest.schema,
        )
    async with opened_target(place, folders, chunk_bytes=chunk_bytes) as target:
        with _unpacking(place) as folder:
            database = folder / DATABASE
            await asyncio.to_thread(_unpack, backup, manifest, database)
            source = await SqliteSource.open(database, storage(backup / CONTENTS))
            source.place = str(backup)
            try:
                await _refuse_lost_contents(source, backup, manifest)
                done = await copy_store(
                    source,
                    target,
                    clock=clock,
                    watcher=watcher,
                    without_missing=True,
                    rewound=True,
                )
            finally:
                await source.close()
    return msgspec.structs.replace(done, source=str(backup))


@contextmanager
def _unpacking(place: Place) -> Iterator[Path]:
    """A folder on the disk that has to have room for the store anyway."""
    if isinstance(place, Path):
        with opened_draft(place.parent, _PREFIX) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as temporary:
            yield Path(temporary)


async def _refuse_lost_contents(source: Source, backup: Path, manifest: Manifest) -> None:
    """What the store did not have any more when it was backed up is forgiven, what the backup has lost since is not."""
    missing = [
        content.sha256
        async for block in source.contents()
        for content in block
        if not await source.has_content(content.sha256)
    ]
    lost = len(missing) - manifest.contents_missing
    if lost > 0:
        before = f" ({manifest.contents_missing} of these it never had)" if manifest.contents_missing else ""
        raise BackupBroken(
            f"the backup {backup} has lost {lost} contents since it was made: {named(missing, len(missing))}{before}. "
            f"Put them back into its folder {CONTENTS}",
            path=str(backup),
        )


def _unpack(backup: Path, manifest: Manifest, database: Path) -> None:
    """The backup's database where it can be written to, with the tables of this perdure."""
    try:
        shutil.copyfile(backup / DATABASE, database)
    except FileNotFoundError:
        raise BackupBroken(f"the backup {backup} has lost its {DATABASE}", path=str(backup)) from None
    except OSError as error:
        raise StoreUnavailable(f"{backup} cannot be copied: {error.strerror}", path=str(backup)) from error
    if file_sha256(database) != manifest.sha256:
        raise BackupBroken(
            f"{backup / DATABASE} is not what was backed up: its sha-256 is not that of the manifest", path=str(backup)
        )
    connection = open_writer(database)
    try:
        migrate(connection, database, migrations())
    finally:
        connection.close()
