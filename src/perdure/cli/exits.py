"""How the command ends: its exit codes."""

from __future__ import annotations

OK = 0
ERROR = 1
USAGE = 2
STOPPED = 3
"""The execution was cancelled or timed out, or a wait did."""
REFUSED = 4
"""No token, a bad one, or one that may not."""
FAILED = 5
"""The execution failed or was abandoned."""
INTERRUPTED = 130
"""Ctrl-C, as shells have it."""


class Exit(Exception):
    """End the command with this code; whatever there was to say has been said."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code
