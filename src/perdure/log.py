"""What this process logs, on stderr; a log that cannot be written is lost, and breaks nothing."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO, TextIO

import structlog

from perdure.settings import ServerSettings

_GONE = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET})
"""A pipe, a terminal, a descriptor, a socket that nobody reads any more; other errors may pass (no space left)."""

# Without the frames' variables: these hold tokens and inputs, and take seconds to print where they are large.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)


class SteadyText(io.TextIOBase):
    """A standard stream whose reader may go away: what cannot be written is lost, and nobody hears of it.

    Once nobody can read it any more, its descriptor leads to nowhere, for our children and at our end too.
    """

    def __init__(self, behind: TextIO) -> None:
        self._behind = behind

    def write(self, text: str) -> int:
        with self._unheard():
            self._behind.write(text)
        return len(text)

    def flush(self) -> None:
        with self._unheard():
            self._behind.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._behind.fileno()

    def isatty(self) -> bool:
        return self._behind.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._behind.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._behind.errors

    @property
    def buffer(self) -> BinaryIO:
        return self._behind.buffer

    @contextlib.contextmanager
    def _unheard(self) -> Iterator[None]:
        try:
            yield
        except ValueError:
            """Somebody closed it."""
        except OSError as error:
            if error.errno in _GONE:
                with contextlib.suppress(OSError, ValueError):
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, self._behind.fileno())
                    os.close(nowhere)


def steady_streams() -> None:
    """Have stdout and stderr break nothing from now on: a pipe's reader, a terminal, a disk's space may go away.

    A descriptor that was closed at our start leads to nowhere, before a file of the store is opened under its number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
    # At our end the interpreter flushes the streams that it knows; these may be gone by then.
    sys.stdout = SteadyText(sys.stdout or open(1, "w", closefd=False))  # noqa: SIM115
    sys.stderr = SteadyText(sys.stderr or open(2, "w", closefd=False))  # noqa: SIM115


def configure_logging(settings: ServerSettings) -> None:
    """Logs on stderr: for people on a terminal, one JSON object a line elsewhere."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    is_console = is_for_people(settings)
    stamps = structlog.processors.TimeStamper(fmt="iso", utc=True)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty() and "NO_COLOR" not in os.environ,
            exception_formatter=structlog.dev.plain_traceback,
        )
        if is_console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            stamps,
            *([] if is_console else [_TRACEBACKS]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    if not is_console:
        # What libraries log is one JSON object a line too.
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, stamps],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _TRACEBACKS, renderer],
            )
        )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING))
    # What http nodes fetch is told by their events.
    for chatty in ("httpx2", "watchfiles"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def is_for_people(settings: ServerSettings) -> bool:
    return settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
