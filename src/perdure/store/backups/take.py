"""Taking a backup: a draft in a folder of its own, which gets its name once it is whole."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import apsw
import msgspec

from perdure.base.clock import Clock
from perdure.errors import ArtifactNotFound, StoreDamaged, StoreFull, StoreNotEmpty, StoreUnavailable
from perdure.store.backups.drafts import opened_draft
from perdure.store.backups.manifest import CONTENTS, DATABASE, FORMAT, MANIFEST, Manifest, file_sha256
from perdure.store.copying import sql
from perdure.store.copying.copier import copy_store
from perdure.store.copying.folders import Folders, put_pieces
from perdure.store.copying.interface import Content, ContentFolder, Watcher
from perdure.store.copying.missing import SHOWN, contents_missing
from perdure.store.copying.places import Place, opened_source, place_text
from perdure.store.copying.sqlite_source import SqliteSource
from perdure.store.copying.sqlite_target import SqliteTarget, flush
from perdure.store.faults import reach
from perdure.store.sqlite.connection import open_backup
from perdure.store.sqlite.failures import translated
from perdure.store.sqlite.migrate import migrations

BLOCK = 1_000
"""Contents whose names are in memory at once."""
StorageAt = Callable[[Path], ContentFolder]


async def take_backup(
    place: Place,
    to: Path,
    *,
    folders: Folders,
    storage: StorageAt,
    clock: Clock,
    watcher: Watcher,
    without_missing: bool = False,
) -> Manifest:
    """Back the store up as it is at one moment, into the folder `to`, which must not be there. Its users go on.

    Args:
        folders: where the store's contents lie.
        storage: keeps contents in that folder.
        without_missing: although contents are missing, without those.

    Raises:
        StoreNotEmpty: `to` is there.
        ContentsMissing: the store lacks contents that its rows refer to.
        StoreDamaged, StoreError: what the databases and the disks have to say. Nothing is left under the name `to`.
    """
    at = clock.now()
    with _disk_trouble(to), _draft(to) as draft:
        contents = storage(draft / CONTENTS)
        if isinstance(place, Path):
            stored = folders.of_file(place)
            with stored.held():
                missing = await _from_file(place, draft, stored, contents, watcher, without_missing=without_missing)
        else:
            async with (
                opened_source(place, folders, at_rest=False) as source,
                _opened_target(draft, contents) as target,
            ):
                done = await copy_store(source, target, clock=clock, watcher=watcher, without_missing=without_missing)
            missing = done.contents_missing
        manifest = await asyncio.to_thread(_settled, draft, place_text(place), at, missing)
        reach("copied")
        await asyncio.to_thread(_named, draft, to)
    return manifest


async def _from_file(
    path: Path, draft: Path, stored: ContentFolder, taken: ContentFolder, watcher: Watcher, *, without_missing: bool
) -> int:
    """Answers how many contents were missing."""
    database = draft / DATABASE
    source = await SqliteSource.open(path, stored, at_rest=False)
    try:
        await _copy_pages(source, database, watcher)
    finally:
        # Contents are never changed, so they need no snapshot; the log of the store can shrink again.
        await source.close()
    with _opened(database) as connection:
        count, size_bytes = await asyncio.to_thread(_totals, connection)
        watcher.begin("contents", size_bytes)
        missing, first = 0, []
        wanted = connection.execute(sql.CONTENTS)
        # A store may have millions of them.
        while block := await asyncio.to_thread(_next, wanted):
            for content in block:
                try:
                    await put_pieces(taken, content, _watched(stored, content, watcher), beside=database)
                except ArtifactNotFound:
                    missing += 1
                    if missing <= SHOWN:
                        first.append(content.sha256)
                reach("copying_contents")
    if missing and not without_missing:
        raise contents_missing(path, first, count=missing, total=count, verb="back up")
    return missing


async def _copy_pages(source: SqliteSource, database: Path, watcher: Watcher) -> None:
    told = -1

    def seen(done: int, total: int) -> None:
        nonlocal told
        if told < 0:
            told = 0
            watcher.begin("file contents", total)
        watcher.advance(done - told, "pages")
        told = done

    await source.pages(database, seen)


async def _watched(folder: ContentFolder, content: Content, watcher: Watcher) -> AsyncIterator[bytes]:
    async for piece in folder.open(content.sha256):
        watcher.advance(len(piece), "contents")
        yield piece


@asynccontextmanager
async def _opened_target(draft: Path, contents: ContentFolder) -> AsyncIterator[SqliteTarget]:
    target = await SqliteTarget.open(draft / DATABASE, contents)
    try:
        yield target
    finally:
        await target.close()


@contextmanager
def _opened(database: Path) -> Iterator[apsw.Connection]:
    """Used by one thread at a time."""
    try:
        connection = open_backup(database)
        try:
            yield connection
        finally:
            connection.close()
    except apsw.Error as error:
        raise translated(error, database) or error from error


def _totals(connection: apsw.Connection) -> tuple[int, int]:
    """How many contents rows refer to, and their bytes."""
    count, size_bytes = connection.execute(sql.CONTENTS_TOTAL).get
    return count, size_bytes


def _next(rows: apsw.Cursor) -> list[Content]:
    """The next block; empty at the end."""
    return [Content(*row) for row in islice(rows, BLOCK)]


def _settled(draft: Path, source: str, at: int, missing: int) -> Manifest:
    """Look the database through, and write what there is to say of the backup."""
    database = draft / DATABASE
    with suppress(FileNotFoundError):
        database.with_name(f"{DATABASE}.lock").unlink()
    with _opened(database) as connection:
        contents, content_bytes = _totals(connection)
        problems = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
        executions, unfinished = (connection.execute(text).get for text in (sql.EXECUTIONS, sql.UNFINISHED))
    if problems != ["ok"]:
        raise StoreDamaged(f"the store {source} is damaged: {'; '.join(problems)}", path=source)
    database.chmod(0o600)
    flush(database)
    manifest = Manifest(
        format=FORMAT,
        perdure=version("perdure"),
        made_at=at,
        source=source,
        schema=migrations()[-1].number,
        executions=executions,
        unfinished=unfinished,
        size_bytes=database.stat().st_size,
        sha256=file_sha256(database),
        contents=contents - missing,
        content_bytes=content_bytes,
        contents_missing=missing,
    )
    (draft / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    flush(draft / MANIFEST)
    flush(draft)
    return manifest


def _named(draft: Path, to: Path) -> None:
    # An empty folder of that name is replaced, any other is not.
    os.rename(draft, to)
    flush(to.parent)


@contextmanager
def _draft(to: Path) -> Iterator[Path]:
    if os.path.lexists(to):
        raise StoreNotEmpty(f"{to} is there already; name a folder that is not", path=str(to))
    to.parent.mkdir(parents=True, exist_ok=True)
    with opened_draft(to.parent, f".{to.name}-unfinished-") as draft:
        yield draft


@contextmanager
def _disk_trouble(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull(f"no space left for the backup {to}", path=str(to)) from error
        raise StoreUnavailable(f"the backup {to} cannot be written: {error.strerror}", path=str(to)) from error
