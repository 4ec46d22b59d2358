"""What went wrong, as it is recorded of a node run and of an execution."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Failure(Struct, kw_only=True):
    """A recorded failure. `stack` is the traceback of user code."""

    code: str
    message: str
    node: str | None = None
    ordinal: int | None = None
    attempt: int | None = None
    stack: str | None = None
    details: dict[str, Any] | None = None
