"""Just enough of PostgreSQL's protocol to tell one message of a client from the next (PostgreSQL docs, chapter 54)."""

from __future__ import annotations

import struct
from typing import NamedTuple

_NO_STARTUP = frozenset({80877102, 80877103, 80877104})
"""Codes of what a client may say instead of, or before, its startup: cancel, TLS?, GSS?"""


class Message(NamedTuple):
    """`kind` is empty for what a connection begins with; `data` is all of it as it travels."""

    kind: bytes
    data: bytes

    @property
    def text(self) -> str:
        """The SQL of a simple query; empty for everything else."""
        return self.data[5:-1].decode(errors="replace") if self.kind == b"Q" else ""

    @property
    def commits(self) -> bool:
        """Whether it ends a transaction of a store's writer."""
        return "INTO writers" in self.text and self.text.rstrip("; ").endswith("COMMIT")


class ClientMessages:
    """What a client sends, message by message."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_started = False

    def feed(self, data: bytes) -> list[Message]:
        """The messages that this piece completes."""
        self._rest += data
        found = []
        while (message := self._next()) is not None:
            self._rest = self._rest[len(message.data) :]
            found.append(message)
        return found

    def _next(self) -> Message | None:
        head = 5 if self._has_started else 8
        if len(self._rest) < head:
            return None
        if not self._has_started:
            end, code = struct.unpack_from(">II", self._rest)
            self._has_started = len(self._rest) >= end and code not in _NO_STARTUP
            return Message(b"", self._rest[:end]) if len(self._rest) >= end else None
        [length] = struct.unpack_from(">I", self._rest, 1)
        return Message(self._rest[:1], self._rest[: length + 1]) if len(self._rest) > length else None


def query(sql: str) -> bytes:
    """A simple query as it travels."""
    text = sql.encode() + b"\0"
    return b"Q" + struct.pack(">I", len(text) + 4) + text


def failing(sqlstate: str) -> bytes:
    """A query that fails with that SQLSTATE, raised by the server itself, so that both sides agree on what is."""
    return query(f"DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{sqlstate}'; END $$")


def ends_answer(data: bytes) -> bool:
    """Whether the server is ready for the next query with this piece (ReadyForQuery is its last message)."""
    return len(data) >= 6 and data[-6:-1] == b"Z\0\0\0\5"
