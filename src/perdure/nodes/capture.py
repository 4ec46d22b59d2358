"""What inline and thread nodes print and log, led to their attempt instead of the engine's own output."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any, TextIO

from perdure.nodes.authoring import CURRENT
from perdure.nodes.log_level import level_name, message_of


class Capture:
    """Stands in for `sys.stdout`, `sys.stderr` and listens at the root logger, from `install` to `remove`.

    Outside of an attempt everything goes where it went before.
    """

    def __init__(self) -> None:
        self._stdout = RoutedText("stdout", sys.stdout)
        self._stderr = RoutedText("stderr", sys.stderr)

    def install(self) -> None:
        sys.stdout = self._stdout = RoutedText("stdout", sys.stdout)
        sys.stderr = self._stderr = RoutedText("stderr", sys.stderr)
        _records.install()

    def remove(self) -> None:
        if sys.stdout is self._stdout:
            sys.stdout = self._stdout.behind
        if sys.stderr is self._stderr:
            sys.stderr = self._stderr.behind
        _records.remove()


class RoutedText(io.TextIOBase):
    def __init__(self, stream: str, behind: TextIO) -> None:
        self.behind = behind
        self._stream = stream

    def write(self, text: str) -> int:
        attempt = CURRENT.get()
        if attempt is None:
            return self.behind.write(text)
        attempt.write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        if CURRENT.get() is None and not self.behind.closed:
            self.behind.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.behind.fileno()

    def isatty(self) -> bool:
        return CURRENT.get() is None and self.behind.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.behind.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.behind.errors

    @property
    def buffer(self) -> Any:
        return RoutedBytes(self)


class RoutedBytes(io.RawIOBase):
    """The byte side of a routed stream."""

    def __init__(self, text: RoutedText) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        content = bytes(data)
        if CURRENT.get() is None:
            return self._text.behind.buffer.write(content)
        self._text.write(content.decode(errors="replace"))
        return len(content)

    def flush(self) -> None:
        self._text.flush()


class RoutedRecords(logging.Handler):
    """One for the process, however many captures there are: a record is to be told once."""

    def __init__(self) -> None:
        super().__init__()
        self._installed = 0
        self._root_level = logging.WARNING

    def install(self) -> None:
        root = logging.getLogger()
        if self._installed == 0:
            root.addHandler(self)
            self._root_level = root.level
            if root.level == logging.WARNING:
                # Python's default, which nobody chose: an attempt's info records would be dropped.
                root.setLevel(logging.INFO)
        self._installed += 1

    def remove(self) -> None:
        self._installed -= 1
        if self._installed == 0:
            root = logging.getLogger()
            root.removeHandler(self)
            root.setLevel(self._root_level)

    def emit(self, record: logging.LogRecord) -> None:
        attempt = CURRENT.get()
        if attempt is not None:
            attempt.log(level_name(record.levelno), message_of(record))
        elif logging.getLogger().handlers == [self] and logging.lastResort is not None:
            _as_without_us(logging.lastResort, record)


def _as_without_us(last_resort: logging.Handler, record: logging.LogRecord) -> None:
    """Where nobody has set up logging, Python writes warnings to stderr."""
    if record.levelno >= last_resort.level:
        last_resort.handle(record)


_records = RoutedRecords()
