"""The two ends of a copy."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import msgspec

from perdure.store.copying.tables import Table

Row = tuple[Any, ...]
"""Ids and hashes are bytes, texts str, numbers int; None is NULL."""


class Content(NamedTuple):
    """An artifact's or a large value's bytes, by their sha-256."""

    sha256: bytes
    size_bytes: int


class FeedEnd(NamedTuple):
    """Up to which `n` a writer's commits are in the feed's numbers, and when (microseconds) it wrote last."""

    writer: int
    n: int
    at: int


class StoredContent(Protocol):
    @property
    def sha256(self) -> bytes: ...


class ContentFolder(Protocol):
    """Where a SQLite store's contents lie (`perdure.artifacts.local`)."""

    async def size(self, sha256: bytes) -> int:
        """Raises `ArtifactNotFound`."""
        ...

    def open(self, sha256: bytes) -> AsyncIterator[bytes]: ...
    def held(self) -> AbstractContextManager[None]:
        """Nothing is removed from it meanwhile."""
        ...

    async def put_file(self, path: str | os.PathLike[str]) -> StoredContent: ...


class Source(Protocol):
    """A store as it is at one moment; nothing is written to it. All methods raise `StoreError`."""

    @property
    def place(self) -> str:
        """For messages: without credentials."""
        ...

    async def all(self, sql: str) -> list[Any]:
        """The rows that a query answers; for few."""
        ...

    async def columns(self, table: Table) -> frozenset[str]: ...
    async def count(self, table: Table) -> int: ...
    def rows(self, table: Table, columns: Sequence[str]) -> AsyncGenerator[list[Row]]:
        """All rows by the table's key, a block at a time."""
        ...

    async def last_number(self, table: Table) -> int:
        """The highest that the table's counter has given; 0 for none."""
        ...

    async def last_writer(self) -> int:
        """The highest number of any writer of the feed, also of those that are forgotten."""
        ...

    async def feed_ends(self) -> list[FeedEnd]: ...
    async def oldest(self) -> int | None:
        """When the oldest execution was made, in microseconds, by its id."""
        ...

    async def unfinished(self) -> int:
        """Executions that have not ended, without their units."""
        ...

    def contents(self) -> AsyncIterator[list[Content]]:
        """Every content that a row refers to, once, a block at a time."""
        ...

    async def has_content(self, sha256: bytes) -> bool: ...
    def content(self, sha256: bytes) -> AsyncIterator[bytes]: ...
    async def close(self) -> None: ...


class Target(Protocol):
    """An empty store that is being filled; nobody sees anything of it before `keep`. All methods raise `StoreError`."""

    @property
    def place(self) -> str: ...

    async def columns(self, table: Table) -> frozenset[str]: ...
    async def prepare(self, *, oldest: int | None) -> None:
        """Make room for executions since then."""
        ...

    async def put(self, table: Table, columns: Sequence[str], blocks: AsyncIterator[list[Row]]) -> None: ...
    async def put_content(self, content: Content, pieces: AsyncIterator[bytes]) -> None: ...
    def rows(self, table: Table, columns: Sequence[str]) -> AsyncGenerator[list[Row]]:
        """As `Source.rows`, of what was put."""
        ...

    def content(self, sha256: bytes) -> AsyncIterator[bytes]: ...
    async def go_on_after(self, table: Table, number: int) -> None:
        """Give the next row a higher number."""
        ...

    async def set_feed_ends(self, ends: Sequence[FeedEnd], *, last_writer: int, at: int) -> None:
        """See that positions in the old feed either go on here, or are told that they do not: no commit is hidden.

        `at` is this moment, in microseconds.
        """
        ...

    async def keep(self) -> None:
        """Make it durable and seen, all at once."""
        ...

    async def close(self) -> None:
        """Without `keep` before, nothing is left of it."""
        ...


class Watcher(Protocol):
    """Who looks on while it goes."""

    def begin(self, phase: str, total: int) -> None:
        """`total` is in rows, or in bytes of contents."""
        ...

    def advance(self, count: int, what: str) -> None:
        """So many more are done; `what` is the table."""
        ...


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """Of one table: its rows, and the sha-256 of them in their canonical form, alike at both places."""

    rows: int
    sha256: str


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """What was copied and found alike, `executions` without their units; `unfinished` ones go on wherever they are run."""

    source: str
    target: str
    executions: int
    tables: dict[str, Copied]
    contents: int
    content_bytes: int
    contents_missing: int
    unfinished: int
