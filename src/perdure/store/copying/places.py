"""Where stores are, as people write it, and how the ends of a copy are opened there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from perdure.errors import InvalidSettings
from perdure.store.copying.folders import Folders
from perdure.store.copying.interface import Source, Target
from perdure.store.copying.postgres_source import PostgresSource
from perdure.store.copying.postgres_target import PostgresTarget
from perdure.store.copying.sqlite_source import SqliteSource
from perdure.store.copying.sqlite_target import SqliteTarget
from perdure.store.postgres.url import DEFAULT_SCHEMA, SCHEMES, Address, parse_url
from perdure.store.sqlite import moved

Place = Path | Address
"""A SQLite file, or a schema of a PostgreSQL database."""


def parse_place(text: str) -> Place:
    """`sqlite:PATH` or `postgresql://…`. Raises `InvalidSettings`."""
    scheme, separator, rest = text.partition(":")
    if scheme == "sqlite" and rest:
        return Path(rest.removeprefix("//")).expanduser()
    if scheme in SCHEMES and separator:
        return parse_url(text)
    kind = f"of the kind {scheme!r}" if separator and scheme.isalnum() else "without a kind"
    raise InvalidSettings(
        f"a store {kind} is not known here; write sqlite:PATH or postgresql://user@host:port/database"
    )


def place_text(place: Place) -> str:
    """As `parse_place` takes it, without the login of a database."""
    if isinstance(place, Path):
        return f"sqlite:{place}"
    return f"postgresql://{place.place}" + ("" if place.schema == DEFAULT_SCHEMA else f"?schema={place.schema}")


@asynccontextmanager
async def opened_source(place: Place, folders: Folders, *, at_rest: bool = True) -> AsyncIterator[Source]:
    """At rest, or in use meanwhile. Raises what `PostgresSource.open` and `SqliteSource.open` raise."""
    folder = folders.of_file(place) if isinstance(place, Path) else folders.of_database
    # From before the moment that the source shows: what its rows refer to then is not removed while it is read.
    with nullcontext() if folder is None else folder.held():
        source: Source
        if isinstance(place, Path):
            source = await SqliteSource.open(place, folders.of_file(place), at_rest=at_rest)
        else:
            source = await PostgresSource.open(place, folder=folder, at_rest=at_rest)
        try:
            yield source
        finally:
            await source.close()


@asynccontextmanager
async def opened_target(place: Place, folders: Folders, *, chunk_bytes: int) -> AsyncIterator[Target]:
    """Contents in tables are cut into chunks. Raises what `PostgresTarget.open` and `SqliteTarget.open` raise."""
    target: Target
    if isinstance(place, Path):
        target = await SqliteTarget.open(place, folders.of_file(place))
    else:
        target = await PostgresTarget.open(place, chunk_bytes=chunk_bytes, folder=folders.of_database)
    try:
        yield target
    finally:
        await target.close()


def retire(database: Path, *, to: str) -> None:
    """Let nobody start on this SQLite file any more; `to` names the new place, without credentials."""
    moved.retire(database, to=to)
