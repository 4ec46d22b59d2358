"""Nodes that take their process down."""

from __future__ import annotations

import os
import resource
import signal

from effects import effect  # type: ignore[import-not-found]  # found beside it, in the flow folder


def abort() -> None:
    """In a process: only that process dies."""
    effect()
    os.abort()


async def abort_inline() -> None:
    """Inline: the engine dies with it."""
    effect()
    os.abort()


def killed() -> None:
    """As the kernel does when memory runs out."""
    effect()
    os.kill(os.getpid(), signal.SIGKILL)


def hog() -> int:
    """Wants more memory than its limit lets it have."""
    effect()
    resource.setrlimit(resource.RLIMIT_AS, (512 * 1024 * 1024, 512 * 1024 * 1024))
    held = [bytearray(64 * 1024 * 1024) for _ in range(64)]
    return len(held)


def leave() -> None:
    """Ends its process as if all were well."""
    effect()
    os._exit(0)
