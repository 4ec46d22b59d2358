"""Where the content of artifacts and of values over the inline limit is kept, addressed by its sha-256."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """Content that is on disk for good."""

    sha256: bytes
    size_bytes: int

    @property
    def path(self) -> str:
        """`aa/<sha-256 in hex>`, relative to the storage's root."""
        text = self.sha256.hex()
        return f"{text[:2]}/{text}"


class ArtifactStorage(Protocol):
    """Content put twice is stored once. All methods raise `StoreFull` or `StoreUnavailable` for the disk's trouble."""

    @property
    def is_shared(self) -> bool:
        """Whether contents are kept elsewhere than in the folder on this machine."""
        ...

    async def put_bytes(self, data: bytes) -> Stored: ...

    async def put_file(self, path: str | os.PathLike[str]) -> Stored:
        """Copy a regular file in. Raises OSError when it cannot be read, or is a link or no regular file."""
        ...

    async def keep(self, sha256: bytes) -> None:
        """What a node's process has put into the folder on this machine: have it where this storage keeps contents.

        Raises `ArtifactNotFound`.
        """
        ...

    async def tidy(self) -> int:
        """Remove files from the folder on this machine that nobody needs there any more; returns how many those were."""
        ...

    async def claim(self, store: int, *, in_advance: bool = False) -> list[str]:
        """Mark these contents, if there are any or `in_advance`, as those of the store with that number; returns the marks of
        other stores."""
        ...

    async def old(self, after: bytes, *, age_s: float) -> list[bytes]:
        """Some contents behind a hash, in order, that nobody has put for so long; none when there are no more."""
        ...

    async def remove(self, sha256s: Sequence[bytes], *, age_s: float) -> int:
        """Remove those of them that nobody has put for so long; returns how many those were.

        Whoever puts one at the same time has it afterwards. Raises `StoreBusy` while a backup is taken from them.
        """
        ...

    async def exists(self, sha256: bytes) -> bool: ...

    async def read(self, sha256: bytes) -> bytes:
        """Raises `ArtifactNotFound`."""
        ...

    async def size(self, sha256: bytes) -> int:
        """In bytes. Raises `ArtifactNotFound`."""
        ...

    def open(self, sha256: bytes, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The content from byte `start` to before `end`, in chunks. Raises `ArtifactNotFound` at the first one."""
        ...
