"""Folders in which something is made that may be large: none is left behind for long, whoever is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path


@contextmanager
def opened_draft(folder: Path, prefix: str) -> Iterator[Path]:
    """A folder below `folder`, gone at the end unless it was renamed; and so are those of the same prefix that killed
    processes left. Raises OSError."""
    for left in folder.glob(f"{escape(prefix)}*"):
        with suppress(OSError), _held(left):
            shutil.rmtree(left)
    draft = Path(tempfile.mkdtemp(dir=folder, prefix=prefix))
    with _held(draft):
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Raises OSError where another process is at work in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
