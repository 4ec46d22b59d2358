"""Artifact storage in a folder: `<root>/<aa>/<sha-256>`, one file per content."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from perdure.artifacts.interface import Stored
from perdure.errors import ArtifactNotFound, StoreBusy, StoreError, StoreFull, StoreUnavailable

_T = TypeVar("_T")
_CHUNK = 1024 * 1024
_ENOUGH = 500
"""Old contents that are found at a time, and the rest of the folder in which the last of them lies."""
_MARK = "store-"
_STALE_S = 24 * 3600
"""Age at which a half-written file is surely nobody's any more."""


class LocalStorage:
    """Made by whoever needs it, in any process: the folder itself is the only state."""

    is_shared = False

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    async def put_bytes(self, data: bytes) -> Stored:
        return await asyncio.to_thread(self.store_bytes, data)

    async def put_file(self, path: str | os.PathLike[str]) -> Stored:
        return await asyncio.to_thread(self.store_file, path)

    async def keep(self, sha256: bytes) -> None:
        """Nothing is to be done: the folder is where contents are kept."""

    async def tidy(self) -> int:
        """What crashes left half-written."""
        return await asyncio.to_thread(self.sweep)

    async def claim(self, store: int, *, in_advance: bool = False) -> list[str]:
        return await asyncio.to_thread(self._claim, store, in_advance=in_advance)

    async def old(self, after: bytes, *, age_s: float) -> list[bytes]:
        return await asyncio.to_thread(self._old, after, time.time() - age_s)

    async def remove(self, sha256s: Sequence[bytes], *, age_s: float) -> int:
        return await asyncio.to_thread(self._remove, sha256s, time.time() - age_s)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is removed meanwhile, by whatever process; for backups."""
        if not self.root.is_dir():
            yield
            return
        with _locked(self.root, fcntl.LOCK_SH):
            yield

    async def exists(self, sha256: bytes) -> bool:
        return await asyncio.to_thread(self.path_of(sha256).is_file)

    async def size(self, sha256: bytes) -> int:
        return (await asyncio.to_thread(self._found, sha256, os.stat)).st_size

    async def read(self, sha256: bytes) -> bytes:
        return await asyncio.to_thread(self._found, sha256, Path.read_bytes)

    async def open(self, sha256: bytes, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(self._found, sha256, _open_to_read)
        try:
            await asyncio.to_thread(file.seek, start)
            left = None if end is None else end - start
            while left is None or left > 0:
                chunk = await asyncio.to_thread(file.read, _CHUNK if left is None else min(_CHUNK, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk
        finally:
            file.close()

    def path_of(self, sha256: bytes) -> Path:
        """Where that content is, or would be."""
        if len(sha256) != hashlib.sha256().digest_size:
            raise ValueError("a sha-256 has 32 bytes")
        text = sha256.hex()
        return self.root / text[:2] / text

    def store_bytes(self, data: bytes) -> Stored:
        """`put_bytes` for code without a loop."""
        return self._store(iter((data,)))

    def store_file(self, path: str | os.PathLike[str]) -> Stored:
        """`put_file` for code without a loop."""
        with _open_regular(path) as file:
            return self._store(iter(lambda: file.read(_CHUNK), b""))

    def contents(self) -> list[tuple[float, int, bytes]]:
        """(time of the last put in seconds since 1970, bytes, sha-256) of all that lies here, the oldest first."""
        return sorted(found for folder in self._folders() for found in _files_in(folder))

    def forget(self, sha256: bytes) -> None:
        """Remove a content that is kept elsewhere too."""
        with _disk_trouble(self.root):
            self.path_of(sha256).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Remove what crashes left half-written a day ago; how many files that were."""
        removed = 0
        for path in self.root.glob("tmp/*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()
                    removed += 1
        return removed

    def _claim(self, store: int, *, in_advance: bool) -> list[str]:
        if not in_advance and not self.root.is_dir():
            return []
        mark = f"{_MARK}{store:016x}"
        with _disk_trouble(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / mark).touch()
            return sorted(path.name for path in self.root.glob(f"{_MARK}*") if path.name != mark)

    def _folders(self) -> list[Path]:
        return sorted(self.root.glob("[0-9a-f][0-9a-f]"))

    def _old(self, after: bytes, before: float) -> list[bytes]:
        """Whole folders at a time."""
        found: list[bytes] = []
        for folder in self._folders():
            if folder.name > after[:1].hex():
                found += sorted(sha256 for put_at, _, sha256 in _files_in(folder) if put_at < before)
                if len(found) >= _ENOUGH:
                    break
        return found

    def _remove(self, sha256s: Sequence[bytes], before: float) -> int:
        removed = 0
        with _disk_trouble(self.root):
            try:
                with _locked(self.root, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    for sha256 in sha256s:
                        removed += self._remove_old(self.path_of(sha256), before)
            except BlockingIOError:
                raise StoreBusy(f"a backup of {self.root} is being taken") from None
        return removed

    @staticmethod
    def _remove_old(path: Path, before: float) -> bool:
        # Whoever puts it has this lock for the moment in which the file gets its name.
        with contextlib.suppress(FileNotFoundError), _locked(path.parent, fcntl.LOCK_EX):
            if path.stat().st_mtime < before:
                path.unlink()
                return True
        return False

    def _store(self, chunks: Iterator[bytes]) -> Stored:
        digest = hashlib.sha256()
        size = 0
        with _disk_trouble(self.root):
            folder = self.root / "tmp"
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=folder)
        try:
            with open(handle, "wb") as file:
                # What the source cannot give is the caller's matter, what the disk refuses is ours.
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    with _disk_trouble(self.root):
                        file.write(chunk)
                with _disk_trouble(self.root):
                    file.flush()
                    os.fsync(handle)
            with _disk_trouble(self.root):
                self._settle(name, digest.digest())
        finally:
            with contextlib.suppress(OSError):
                os.unlink(name)
        return Stored(sha256=digest.digest(), size_bytes=size)

    def _settle(self, temporary: str, sha256: bytes) -> None:
        target = self.path_of(sha256)
        is_new_folder = not target.parent.is_dir()
        target.parent.mkdir(exist_ok=True)
        with _locked(target.parent, fcntl.LOCK_SH):
            os.replace(temporary, target)
        _sync_folder(target.parent)
        if is_new_folder:
            _sync_folder(self.root)

    def _found(self, sha256: bytes, use: Callable[[Path], _T]) -> _T:
        path = self.path_of(sha256)
        try:
            return use(path)
        except FileNotFoundError:
            raise ArtifactNotFound(f"there is no content with sha-256 {sha256.hex()}") from None
        except OSError as error:
            raise StoreUnavailable(f"the artifact storage cannot be read: {error.strerror}") from error


def _open_to_read(path: Path) -> BinaryIO:
    return open(path, "rb")


def _open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Raises OSError for links and for what is no regular file (a pipe would wait for ever)."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))
    return open(handle, "rb")


def _files_in(folder: Path) -> Iterator[tuple[float, int, bytes]]:
    """(time of the last put, bytes, sha-256) in any order."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            # Others may remove it just now.
            with contextlib.suppress(OSError, ValueError):
                seen = entry.stat()
                yield (seen.st_mtime, seen.st_size, bytes.fromhex(entry.name))


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """With a lock on the folder itself, among all processes; the system releases those of the dead."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk_trouble(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull(f"no space left for artifacts in {root}") from error
        trouble: StoreError = StoreUnavailable(f"artifacts cannot be written to {root}: {error.strerror}")
        raise trouble from error
