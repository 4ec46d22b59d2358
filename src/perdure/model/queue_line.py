"""The line in which an execution waits to be claimed: its queue, and the tags that a worker must have to take it.

Written `queue+tag+tag`, the tags sorted; a line without tags is the queue's name. Neither can hold a plus sign.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

_SEPARATOR = "+"


def line_of(queue: str, requires: Iterable[str]) -> str:
    return _SEPARATOR.join([queue, *sorted(set(requires))])


def queue_of(line: str) -> str:
    return line.partition(_SEPARATOR)[0]


def tags_of(line: str) -> tuple[str, ...]:
    """What a worker must have."""
    return tuple(line.split(_SEPARATOR)[1:])


def is_served(line: str, *, queues: Collection[str] | None, tags: Collection[str]) -> bool:
    """Whether a worker of these queues (None: all) and tags takes from that line."""
    queue, *wanted = line.split(_SEPARATOR)
    return (queues is None or queue in queues) and all(tag in tags for tag in wanted)
