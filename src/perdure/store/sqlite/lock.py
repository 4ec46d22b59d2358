"""One process owns a SQLite store; a lock file beside the database tells the others who."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from perdure.errors import StoreLocked


class Owner(msgspec.Struct, frozen=True):
    """Who holds a store: its process id, and its API's URL once it listens."""

    pid: int
    url: str | None = None


class OwnerLock:
    """`flock` on `<database>.lock`: it goes with the process, however that ends."""

    def __init__(self, database: Path) -> None:
        """Raises `StoreLocked`, naming the owner."""
        self._path = database.with_name(database.name + ".lock")
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            owner = owner_of(database)
            raise StoreLocked(
                f"{database} is owned by process {owner.pid if owner else '(unknown)'}"
                + (f", which answers at {owner.url}" if owner and owner.url else ""),
                path=str(database),
                pid=owner.pid if owner else None,
                url=owner.url if owner else None,
            ) from None
        self.set_url(None)

    def set_url(self, url: str | None) -> None:
        """Tell others where this process answers."""
        text = msgspec.json.encode(Owner(os.getpid(), url))
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def release(self) -> None:
        # An owner that left says so; what a crash leaves behind names a process that is dead.
        os.ftruncate(self._file, 0)
        os.close(self._file)


def owner_of(database: Path) -> Owner | None:
    """What the lock file says; whether that process still holds it is for `OwnerLock` to find out."""
    try:
        text = database.with_name(database.name + ".lock").read_bytes()
        return msgspec.json.decode(text, type=Owner)
    except (OSError, msgspec.DecodeError):
        return None
