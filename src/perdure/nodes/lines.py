"""Bytes and text of a stream, cut into lines."""

from __future__ import annotations

MAX_LINE = 64 * 1024
"""Bytes of a line that are kept; of a longer one the rest is counted and dropped."""


class LineSplitter:
    """Feed it chunks, get whole lines as text. Its memory is bounded by `MAX_LINE`."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._dropped = 0

    @property
    def is_empty(self) -> bool:
        """Whether it stands at the begin of a line."""
        return not self._rest

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completes, without their ends; invalid UTF-8 is replaced."""
        end = chunk.rfind(b"\n")
        if end < 0:
            self._keep(chunk)
            return []
        first, *others = chunk[:end].split(b"\n")
        self._keep(first)
        lines = [self._take()]
        lines += [_text(line, max(0, len(line) - MAX_LINE)) for line in others]
        self._keep(chunk[end + 1 :])
        return lines

    def flush(self) -> list[str]:
        """What stands after the last line's end."""
        return [self._take()] if self._rest else []

    def _keep(self, part: bytes) -> None:
        room = MAX_LINE - len(self._rest)
        self._rest += part[:room]
        self._dropped += max(0, len(part) - room)

    def _take(self) -> str:
        line = _text(bytes(self._rest), self._dropped)
        self._rest.clear()
        self._dropped = 0
        return line


def _text(line: bytes, dropped: int) -> str:
    if dropped:
        return f"{line[:MAX_LINE].decode(errors='replace')}… ({dropped} bytes more)"
    return line.removesuffix(b"\r").decode(errors="replace")
