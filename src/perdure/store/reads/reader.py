"""How a read reaches its database."""

from __future__ import annotations

from typing import Protocol

from perdure.store.statements import Procedure, T


class Reader(Protocol):
    async def __call__(self, procedure: Procedure[T], *, consistent: bool = False) -> T:
        """Run a procedure that only reads; `consistent` shows one moment to all of its statements."""
        ...
