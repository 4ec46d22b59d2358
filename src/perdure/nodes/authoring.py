"""What Python code that runs as a node may call: `from perdure import artifact, context, progress`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol

import msgspec

from perdure.base.texts import cut

_MESSAGE = 10_000


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt that the calling code is. Ids are text; `env` is what the node's `env` rendered to."""

    execution_id: str
    execution_number: int
    workspace: str
    flow: str
    """`namespace/name`"""
    flow_version: int
    node: str
    ordinal: int
    label: str
    attempt: int
    """Counts from 1."""
    attempt_id: str
    """Different for every try of every node run: an idempotency key for the outside world."""
    env: Mapping[str, str]


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is stored and belongs to the node run from now on."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    """In hex."""


class Attempt(Protocol):
    """Where the calls of one attempt's code go: one implementation per isolation."""

    @property
    def context(self) -> Context: ...

    def write(self, stream: str, text: str) -> None: ...
    def log(self, level: str, message: str) -> None: ...
    def progress(self, fraction: float | None, message: str | None) -> None: ...
    def publish(self, source: str | bytes, *, name: str, media_type: str | None) -> Published: ...


CURRENT: ContextVar[Attempt | None] = ContextVar("perdure_attempt", default=None)
"""The attempt of this task or thread."""


class _Process:
    """The one attempt of a pool process, so that threads of the node's code find it too."""

    attempt: Attempt | None = None


PROCESS = _Process()


def current_attempt() -> Attempt | None:
    return CURRENT.get() or PROCESS.attempt


def context() -> Context:
    """Which execution, node and attempt the calling code runs in. Raises RuntimeError outside of a node."""
    return _attempt().context


def progress(fraction: float | None = None, message: str | None = None) -> None:
    """Tell how far the node is, as a `progress` event.

    Args:
        fraction: from 0 to 1; None when it is not known.
        message: a short text for people, cut at 10,000 characters.

    Raises RuntimeError outside of a node, ValueError for a fraction out of range.
    """
    if fraction is not None and not 0 <= fraction <= 1:
        raise ValueError(f"a progress fraction is from 0 to 1, not {fraction!r}")
    _attempt().progress(
        None if fraction is None else float(fraction), None if message is None else cut(str(message), _MESSAGE)
    )


def artifact(
    source: str | os.PathLike[str] | bytes, name: str | None = None, media_type: str | None = None
) -> Published:
    """Publish a file of this node run. When it returns, the file's content is on disk for good.

    Args:
        source: path of a regular file (it is copied and may be deleted afterwards), or the content.
        name: under which it is listed, with `/` between folders; the file's own name by default,
            and needed for bytes.
        media_type: guessed from the name by default.

    Raises:
        RuntimeError: outside of a node.
        ValueError: no name, or one that leaves its folder; a media type that no header can carry.
        OSError: the file cannot be read; it is a link or no regular file.
        perdure.errors.StoreFull: no space left.

    It waits for the disk: in an async function write `await asyncio.to_thread(artifact, path)`.
    """
    if name is None:
        if isinstance(source, bytes):
            raise ValueError("an artifact made of bytes needs a name: artifact(data, 'report.json')")
        name = os.path.basename(os.fspath(source))
    content = source if isinstance(source, bytes) else os.fspath(source)
    return _attempt().publish(content, name=name, media_type=media_type)


def _attempt() -> Attempt:
    attempt = current_attempt()
    if attempt is None:
        raise RuntimeError("this may be called by code that runs as a node of a flow only")
    return attempt
