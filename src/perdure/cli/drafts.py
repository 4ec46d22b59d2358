"""Files that commands write: whole under their name, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import click


@contextmanager
def opened_whole(path: Path, *, option: str) -> Iterator[BinaryIO]:
    """A file to write into; it gets its name, and replaces what had it, once the context is left without an error.

    A link, a pipe or a device is written into as it is. Raises click.BadParameter of that option for what cannot be
    written.
    """
    try:
        mode = _mode(path)
        is_file = mode is None or stat.S_ISREG(mode)
        draft = path.with_name(f".{path.name[:100]}.{uuid4().hex[:8]}.part") if is_file else path
        target = draft.open("xb" if is_file else "wb")
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path} cannot be written: {error}", param_hint=option) from None
    with target:
        if not is_file:
            yield target
            return
        try:
            if mode is not None:
                os.fchmod(target.fileno(), stat.S_IMODE(mode))
            yield target
            target.flush()
            os.fsync(target.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def _mode(path: Path) -> int | None:
    """None where nothing is there yet."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None
