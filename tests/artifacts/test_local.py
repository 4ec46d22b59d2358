"""Content-addressed files: stored once, whole or not at all, and confined to their folder."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.names import artifact_name, media_type
from perdure.errors import ArtifactNotFound, StoreFull, StoreUnavailable


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "artifacts")


def files_of(storage: LocalStorage) -> set[str]:
    return {str(path.relative_to(storage.root)) for path in storage.root.rglob("*") if path.is_file()}


async def test_bytes_are_kept_under_their_sha256(storage: LocalStorage) -> None:
    stored = await storage.put_bytes(b"content")
    digest = hashlib.sha256(b"content")
    assert (stored.sha256, stored.size_bytes) == (digest.digest(), 7)
    assert stored.path == f"{digest.hexdigest()[:2]}/{digest.hexdigest()}"
    assert files_of(storage) == {stored.path}
    assert await storage.read(stored.sha256) == b"content"
    assert await storage.size(stored.sha256) == 7
    assert await storage.exists(stored.sha256)


async def test_the_same_content_is_stored_once(storage: LocalStorage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    assert await storage.put_bytes(b"content") == await storage.put_file(source)
    assert len(files_of(storage)) == 1


async def test_a_file_is_copied_not_linked(storage: LocalStorage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"before")
    stored = await storage.put_file(source)
    source.write_bytes(b"after")
    assert await storage.read(stored.sha256) == b"before"
    assert (storage.root / stored.path).stat().st_nlink == 1


@pytest.mark.parametrize(("start", "end"), [(0, None), (3, None), (0, 5), (2, 4), (9, 3), (100, None)])
async def test_content_is_read_in_pieces(storage: LocalStorage, start: int, end: int | None) -> None:
    stored = await storage.put_bytes(b"0123456789")
    chunks = [chunk async for chunk in storage.open(stored.sha256, start=start, end=end)]
    assert b"".join(chunks) == b"0123456789"[start:end]


async def test_a_large_file_is_streamed(storage: LocalStorage, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(3_000_000))
    stored = await storage.put_file(source)
    chunks = [chunk async for chunk in storage.open(stored.sha256)]
    assert len(chunks) > 1
    assert b"".join(chunks) == source.read_bytes()


async def test_what_is_not_there_is_not_found(storage: LocalStorage) -> None:
    missing = hashlib.sha256(b"missing").digest()
    assert not await storage.exists(missing)
    for reading in (storage.read(missing), storage.size(missing), anext(storage.open(missing))):
        with pytest.raises(ArtifactNotFound):
            await reading


@pytest.mark.parametrize("sha256", [b"", b"short", b"../../../../etc/passwd", bytes(33)])
def test_an_address_is_a_sha256(storage: LocalStorage, sha256: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        storage.path_of(sha256)


def test_links_and_what_is_no_file_are_refused(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "artifacts", "missing"):
        with pytest.raises(OSError, match=name):
            storage.store_file(tmp_path / name)
    with pytest.raises(OSError, match="regular"):
        storage.store_file("/dev/null")


def test_a_full_disk_leaves_nothing_and_is_said(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    storage.store_bytes(b"there")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull):
        storage.store_bytes(b"more")
    assert len(files_of(storage)) == 1
    monkeypatch.undo()
    storage.store_bytes(b"more")
    assert len(files_of(storage)) == 2


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        LocalStorage(tmp_path / "file" / "artifacts").store_bytes(b"x")


def test_half_written_files_of_yesterday_are_removed(storage: LocalStorage) -> None:
    storage.store_bytes(b"kept")
    for name, age_s in (("old", 2 * 24 * 3600), ("new", 60)):
        path = storage.root / "tmp" / name
        path.write_bytes(b"half")
        os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    assert storage.sweep() == 1
    assert {name for name in files_of(storage) if name.startswith("tmp/")} == {"tmp/new"}


@given(st.binary(max_size=300))
def test_what_is_put_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    storage = LocalStorage(tmp_path_factory.getbasetemp() / "shared")
    stored = storage.store_bytes(data)
    assert storage.path_of(stored.sha256).read_bytes() == data


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("a.json", "application/json"), ("A.HTML", "text/html"), ("x.md", "text/markdown"), ("x.yml", "application/yaml"),
        ("x.tar.gz", "application/x-tar"), ("noext", "application/octet-stream"), ("x.ndjson", "application/x-ndjson"),
        ("dir.json/x", "application/octet-stream"),
    ],
)  # fmt: skip
def test_media_types_come_from_names(name: str, media: str) -> None:
    assert media_type(name) == media


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/../b", "/a", "a//b", "a/", "a\0b", "a\nb", "a\\b", "x" * 513, "\u202egnp.exe"]
)
def test_names_that_leave_their_folder_or_deceive_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        artifact_name(name)


@pytest.mark.parametrize("name", ["a", "a.b", "folder/ä b.txt", "...", ".hidden"])
def test_ordinary_names_are_fine(name: str) -> None:
    assert artifact_name(name) == name
