"""Changes whose answers nobody waits for travel together, as one statement: one round trip for all of them.

Each becomes a data-modifying WITH of one statement. These see the tables as they stood before the first of them, so
whatever names a table that one of them writes must come after them, in a statement of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from perdure.store.statements import Statement

MOST_TEXTS = 100
"""Different statements made so: each is a plan of up to 400 KB in the server's memory. What is not among them goes one by one."""
TRIGGERED = {"waits": frozenset({"wait_approvers"})}
"""Tables that triggers write, by the table that they watch. Triggers come after the whole statement."""

_TARGET = re.compile(r"\b(?:INSERT INTO|DELETE FROM|UPDATE)\s+(?!SET\b)(\w+)")
_WORD = re.compile(r"\w+")
_PLACE = re.compile(r"\$(\d+)")


class Traits(NamedTuple):
    """What decides whether a statement may go with others."""

    words: frozenset[str]
    """All that it names, tables among it."""
    written: frozenset[str]
    is_plain: bool
    """Whether it is changes without an answer, none of which names what another one writes."""


def traits(statement: Statement) -> Traits:
    words: set[str] = set()
    written: set[str] = set()
    is_plain = bool(statement.rows) and not statement.returns
    for part in statement.parts:
        targets, named = _TARGET.findall(part), set(_WORD.findall(part))
        is_plain &= len(targets) == 1 and written.isdisjoint(named)
        words |= named
        written.update(targets, *(TRIGGERED.get(table, ()) for table in targets))
    return Traits(frozenset(words), frozenset(written), is_plain)


def together(parts: Sequence[tuple[str, str, int]]) -> str:
    """One statement of several, of which each has a name, its text, and so many parameters.

    PostgreSQL promises no order among them; in fact it carries out the last WITH first, so they are turned round: locks
    are taken in the order in which they were asked for.
    """
    found: list[str] = []
    before = 0
    for name, sql, parameters in parts:
        shifted = _PLACE.sub(lambda match, by=before: f"${int(match[1]) + by}", sql)  # type: ignore[misc]
        found.append(f"{name} AS ({shifted})")
        before += parameters
    return f"WITH {', '.join(reversed(found))} SELECT 1"
