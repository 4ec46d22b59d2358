"""What a backup says of itself: the last file that is written into its folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from perdure.errors import BackupBroken, StoreUnavailable

DATABASE = "perdure.db"
"""A SQLite store, from whatever kind of store the backup was made."""
CONTENTS = "artifacts"
"""The folder of artifacts and large values, by their sha-256."""
MANIFEST = "backup.json"
FORMAT = 1
_PIECE = 4 * 1024 * 1024


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`made_at` is in microseconds since 1970, sizes are in bytes, `sha256` in hex is that of the database.

    `contents_missing`: those that rows refer to and the store did not have any more.
    """

    format: int
    perdure: str
    made_at: int
    source: str
    schema: int
    executions: int
    unfinished: int
    size_bytes: int
    sha256: str
    contents: int
    content_bytes: int
    contents_missing: int


def read_manifest(folder: Path) -> Manifest:
    """Raises `BackupBroken`, `StoreUnavailable`."""
    try:
        text = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupBroken(f"{folder} is no whole backup: there is no {MANIFEST} in it", path=str(folder)) from None
    except OSError as error:
        raise StoreUnavailable(f"{folder / MANIFEST} cannot be read: {error.strerror}", path=str(folder)) from error
    try:
        found = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupBroken(f"{folder / MANIFEST} does not tell of a backup: {error}", path=str(folder)) from None
    if found.format != FORMAT:
        raise BackupBroken(
            f"the backup {folder} has the format {found.format}, this perdure knows {FORMAT}: a newer one must restore it",
            path=str(folder),
        )
    return found


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
