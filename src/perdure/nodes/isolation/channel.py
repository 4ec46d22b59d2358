"""A pool process's side of its line to the engine, and what speaks through it: prints, logs, artifacts."""

from __future__ import annotations

import io
import logging
import os
import threading
from typing import Any

from perdure.artifacts.local import LocalStorage
from perdure.artifacts.names import artifact_name, media_type, recordable_media_type
from perdure.base.clock import SECOND, boot_time
from perdure.base.texts import recordable
from perdure.nodes.authoring import Context, Published, current_attempt
from perdure.nodes.isolation import wire
from perdure.nodes.lines import LineSplitter
from perdure.nodes.log_level import level_name, message_of
from perdure.nodes.output import YieldPace

_CHUNK = 64 * 1024
_LINES_A_FRAME = 1000
_PLAIN = 4 * 1024


class Channel:
    """Two pipes. Blocking: while the engine does not read (backpressure), whoever prints waits.

    Pipes, because a line costs its bytes there, and a kilobyte in a socket.
    """

    def __init__(self, *, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        os.set_inheritable(read_fd, False)
        os.set_inheritable(write_fd, False)
        self._lock = threading.Lock()
        self._received = bytearray()
        self.is_detached = False

    def send(self, message: wire.FromWorker) -> None:
        if self.is_detached:
            raise RuntimeError("this process was forked by a node: it may print, but not speak to the engine")
        data = wire.frame(message)
        with self._lock:
            written = os.write(self._write_fd, data)
            while written < len(data):
                written += os.write(self._write_fd, data[written : written + _CHUNK])

    def receive(self) -> wire.FromEngine:
        """The next frame; ends the process at the end of the line."""
        while True:
            size = 4 + int.from_bytes(self._received[:4], "little")
            if len(self._received) >= max(size, 5):
                data = bytes(self._received[4:size])
                del self._received[:size]
                return wire.from_engine.decode(data)
            chunk = os.read(self._read_fd, 256 * 1024)
            if not chunk:
                os._exit(0)
            self._received += chunk

    def detach(self) -> None:
        """In a process that user code forked: the line belongs to the parent alone."""
        self.is_detached = True
        self._lock = threading.Lock()


class ChannelAttempt:
    """The attempt that this process runs (`perdure.nodes.authoring.Attempt`)."""

    def __init__(self, channel: Channel, context: Context, artifacts: str) -> None:
        self.context = context
        self._channel = channel
        self._storage = LocalStorage(artifacts)
        self._pace = YieldPace()

    def write(self, stream: str, text: str) -> None:
        self._channel.send(wire.Lines(stream=stream, lines=recordable(text).splitlines(), at=_now()))

    def log(self, level: str, message: str) -> None:
        self._channel.send(wire.Record(level=level, message=recordable(message), at=_now()))

    def progress(self, fraction: float | None, message: str | None) -> None:
        self._channel.send(wire.Progress(fraction=fraction, message=None if message is None else recordable(message)))

    def publish(self, source: str | bytes, *, name: str, media_type: str | None) -> Published:
        """The copy is durable before the engine hears of it, so a crash between leaves at most an unnamed file."""
        published = store(self._storage, source, name=name, media=media_type)
        self._channel.send(
            wire.ArtifactStored(
                name=published.name,
                media_type=published.media_type,
                size_bytes=published.size_bytes,
                sha256=published.sha256,
            )
        )
        return published

    def yielded(self, count: int) -> None:
        if self._pace.is_due(count):
            self.progress(None, f"{count} yielded")


def store(storage: LocalStorage, source: str | bytes, *, name: str, media: str | None) -> Published:
    """Put what `perdure.artifact` was given into the storage."""
    checked = artifact_name(name)
    chosen = recordable_media_type(media) if media else media_type(checked)
    stored = storage.store_bytes(source) if isinstance(source, bytes) else storage.store_file(source)
    return Published(
        name=checked,
        media_type=chosen,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256.hex(),
    )


class PrintedText(io.TextIOBase):
    """`sys.stdout` or `sys.stderr`: whole lines become frames, in order with the logged records."""

    def __init__(self, channel: Channel, name: str, fd: int) -> None:
        self._channel = channel
        self._name = name
        self._fd = fd
        self._lines = LineSplitter()
        self._lock = threading.RLock()
        self._bytes = PrintedBytes(self)
        self._plain = ""

    encoding = "utf-8"
    errors = "replace"

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    @property
    def buffer(self) -> PrintedBytes:
        return self._bytes

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            if self._channel.is_detached or not self._take_plain(text):
                self.write_bytes(recordable(text).encode())
        return len(text)

    def _take_plain(self, text: str) -> bool:
        """The short way for short lines of ASCII, which most are; False when it is none."""
        if not text.isascii() or "\r" in text or len(self._plain) + len(text) > _PLAIN or not self._lines.is_empty:
            return False
        if "\n" in text:
            *lines, self._plain = (self._plain + text).split("\n")
            self._send(lines)
        else:
            self._plain += text
        return True

    def write_bytes(self, data: bytes) -> None:
        if self._channel.is_detached:
            os.write(self._fd, data)
            return
        with self._lock:
            data = self._plain.encode() + data
            self._plain = ""
            for start in range(0, len(data), _CHUNK):
                self._send(self._lines.feed(data[start : start + _CHUNK]))

    def end(self) -> None:
        """The attempt is over: what has no line end yet is a line too."""
        with self._lock:
            self._send([self._plain] if self._plain else self._lines.flush())
            self._plain = ""

    def _send(self, lines: list[str]) -> None:
        if current_attempt() is None:
            return
        for start in range(0, len(lines), _LINES_A_FRAME):
            part = lines[start : start + _LINES_A_FRAME]
            self._channel.send(wire.Lines(stream=self._name, lines=part, at=_now()))


class PrintedBytes(io.RawIOBase):
    """`sys.stdout.buffer`: the same lines, written as bytes."""

    def __init__(self, text: PrintedText) -> None:
        self._text = text

    def fileno(self) -> int:
        return self._text.fileno()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        content = bytes(data)
        self._text.write_bytes(content)
        return len(content)


class LoggedRecords(logging.Handler):
    """What node code logs, with its level."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def install(self) -> None:
        root = logging.getLogger()
        root.addHandler(self)
        root.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        attempt = current_attempt()
        if attempt is not None and not self._channel.is_detached:
            attempt.log(level_name(record.levelno), message_of(record))


def _now() -> int:
    return round(boot_time() * SECOND)
