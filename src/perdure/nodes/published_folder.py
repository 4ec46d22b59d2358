"""Publishing what a command left in its PERDURE_ARTIFACTS folder."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.names import artifact_name, media_type
from perdure.errors import StoreError
from perdure.model.failure import Failure
from perdure.nodes.interface import NodeFailed, Sink

MAX_FILES = 1_000
"""Artifacts that one attempt may publish this way."""


class Found(NamedTuple):
    path: str
    name: str
    refusal: str | None


async def publish_folder(folder: str, *, storage: LocalStorage, sink: Sink) -> None:
    """Each regular file becomes an artifact, named by its path in the folder.

    Links and everything else that is no regular file are refused with a warning in the log. Raises
    NodeFailed (`limit_exceeded`, `artifact_not_stored`).
    """
    found = await asyncio.to_thread(lambda: list(_walk(folder)))
    files = [entry for entry in found if entry.refusal is None]
    if len(files) > MAX_FILES:
        message = f"{len(files)} files in PERDURE_ARTIFACTS, at most {MAX_FILES} are published; pack them into one"
        raise NodeFailed(
            Failure(code="limit_exceeded", message=message, retryable=False, error_types=("limit_exceeded",))
        )
    for entry in found:
        if entry.refusal is not None:
            sink.log("warning", f"artifact {entry.name!r} is not published: {entry.refusal}")
    for entry in files:
        try:
            stored = await storage.put_file(entry.path)
        except (OSError, StoreError) as error:
            message = f"artifact {entry.name!r} could not be stored: {error}"
            raise NodeFailed(
                Failure(code="artifact_not_stored", message=message, error_types=("artifact_not_stored",))
            ) from None
        sink.artifact(
            name=entry.name,
            path=stored.path,
            media_type=media_type(entry.name),
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
        )


def _walk(root: str, prefix: str = "") -> Iterator[Found]:
    with os.scandir(root) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = prefix + entry.name
            look = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(look.st_mode):
                yield from _walk(entry.path, f"{name}/")
            else:
                yield Found(entry.path, name, _refusal(name, look))


def _refusal(name: str, look: os.stat_result) -> str | None:
    if stat.S_ISLNK(look.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISREG(look.st_mode):
        return "it is no regular file"
    if look.st_nlink > 1:
        return "it is a hard link to a file that has another name too"
    try:
        artifact_name(name)
    except ValueError as error:
        return str(error)
    return None
