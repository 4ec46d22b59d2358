"""What was done, written down outside of the system: the nodes' effects, the clients' acknowledgements, the boots.

Each is a file of JSON lines. A line is one `write` to a descriptor opened with O_APPEND, so that lines of many
processes and threads neither mix nor tear when a writer is killed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """A side effect of a node. `kind` is begin, end, or a word of the node's own; `at` microseconds.

    `epoch` is the claim under which it was done, as its attempt's id says; 0 where the node cannot know.
    `started` is the process's start time in clock ticks: with `pid` it names one process for good.
    """

    execution: str
    node: str
    at: int
    ordinal: int = 0
    label: str = ""
    attempt: int = 1
    epoch: int = 0
    kind: str = "begin"
    pid: int = 0
    started: int = 0

    @property
    def run(self) -> tuple[str, str, int, str]:
        """Execution, node, ordinal, label."""
        return self.execution, self.node, self.ordinal, self.label


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a client was told with a 2xx. `kind` is start, cancel or seen (a terminal state that was read)."""

    kind: str
    execution: str
    status: str
    at: int
    key: str | None = None
    finished_at: str | None = None


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """A server process was about to be started at `at`; the one before it is dead by then."""

    at: int


class Harm(msgspec.Struct, frozen=True, kw_only=True):
    """Something was done, from `at` until `until`, that may cost a worker what it owned.

    `kind` is a word for it; what was `frozen` may still act for a moment when it goes on, before it notices.
    """

    kind: str
    at: int
    until: int


T = TypeVar("T", bound=msgspec.Struct)


class Ledger(Generic[T]):
    """One file of lines of one type."""

    def __init__(self, path: Path, line: type[T]) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(line)
        path.touch()

    def append(self, line: T) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(file, msgspec.json.encode(line) + b"\n")
        finally:
            os.close(file)

    def lines(self, **where: Any) -> list[T]:
        """All lines so far whose fields have the given values, in the order in which they were written."""
        text = self.path.read_bytes()
        found = [self._decoder.decode(line) for line in text.splitlines() if line]
        return [one for one in found if all(getattr(one, name) == value for name, value in where.items())]
