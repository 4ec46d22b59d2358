"""Contents of artifacts and large values that lie in a folder, whatever database their rows are in."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

from perdure.errors import ArtifactNotFound, StoreDamaged
from perdure.store.copying.interface import Content, ContentFolder


class Folders(NamedTuple):
    """Where contents lie: those of the store in a SQLite file, and those of a database; None is in its own tables."""

    of_file: Callable[[Path], ContentFolder]
    of_database: ContentFolder | None = None


async def is_in(folder: ContentFolder, sha256: bytes) -> bool:
    try:
        await folder.size(sha256)
    except ArtifactNotFound:
        return False
    return True


async def put_pieces(
    folder: ContentFolder, content: Content, pieces: AsyncIterator[bytes], *, beside: Path | None
) -> None:
    """Raises `StoreDamaged` for pieces that are not that content; it is written beside a path first (None: anywhere)."""
    where = None if beside is None else beside.parent
    with tempfile.NamedTemporaryFile(dir=where, prefix=".perdure-copy-") as file:
        async for piece in pieces:
            file.write(piece)
        file.flush()
        stored = await folder.put_file(file.name)
    if stored.sha256 != content.sha256:
        raise StoreDamaged(f"the content with sha-256 {content.sha256.hex()} is not the one that its rows tell of")
