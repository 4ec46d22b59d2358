"""Python's log records as log lines of an attempt."""

from __future__ import annotations

import logging

from perdure.nodes.lines import MAX_LINE
from perdure.nodes.output import shortened

STREAM_LEVELS = {"stdout": "info", "stderr": "warning"}
"""The level of a captured line."""

_formatter = logging.Formatter()


def level_name(number: int) -> str:
    """debug, info, warning or error for any of Python's level numbers."""
    if number < logging.INFO:
        return "debug"
    if number < logging.WARNING:
        return "info"
    return "warning" if number < logging.ERROR else "error"


def message_of(record: logging.LogRecord) -> str:
    """The message with its traceback, if it has one, shortened as a printed line is; a record that cannot be
    formatted says so."""
    try:
        message = _formatter.format(record)
    except Exception as error:
        message = f"{record.msg!r} (its arguments do not fit: {error})"
    return shortened(message, MAX_LINE)
