"""What the handlers work with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from perdure.api.feed import Feed
from perdure.api.frames import Frames
from perdure.api.metrics import Metrics
from perdure.api.streaming import Streams
from perdure.auth.authority import Authority
from perdure.base.clock import Clock
from perdure.engine.engine import Engine


class FileStorage(Protocol):
    """What the API needs of artifact storage."""

    async def size(self, sha256: bytes) -> int:
        """In bytes. Raises ArtifactNotFound."""
        ...

    def open(self, sha256: bytes, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The stored bytes from `start` up to `end` (exclusive), in pieces."""
        ...


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows of itself. `loopback`: it listens on this machine's own interface alone."""

    url: str
    loopback: bool
    started_at: int
    recycles: int = 0
    """How often this process has replaced itself."""


class Services(msgspec.Struct, kw_only=True):
    engine: Engine
    files: FileStorage
    authority: Authority
    streams: Streams
    feed: Feed
    frames: Frames
    metrics: Metrics
    clock: Clock
    about: About
    flow_writing: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    """Preconditions are checked and flows written one call at a time, so that If-Match holds when the write happens."""
    openapi: Callable[[], bytes]
    """The OpenAPI document of the routes that are served."""
