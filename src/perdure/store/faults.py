"""Fault points for the crash tests: `PERDURE_FAULT=name` or `name:n` ends the process at the n-th time there.

Names: `before_commit` (rows written, COMMIT not yet), `after_commit` (durable, nobody told),
`before_reply` (back on the event loop, the first waiter not yet told), `migration` (a migration
written, not yet committed), `copying` (a block of rows of a store's copy handed over), `copied` (all
of it written and compared, not yet kept). Without the variable a point costs one comparison.
"""

from __future__ import annotations

import os

EXIT_CODE = 86

_name, _, _count = os.environ.get("PERDURE_FAULT", "").partition(":")
_left = int(_count or 1)


def reach(name: str) -> None:
    """End the process as a crash would, if this is the point that the environment names."""
    global _left  # noqa: PLW0603
    if name != _name:
        return
    _left -= 1
    if _left <= 0:
        os._exit(EXIT_CODE)
