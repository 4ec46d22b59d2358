"""JSON pointers (RFC 6901): which part of a document is meant."""

from __future__ import annotations

from collections.abc import Iterable


def pointer_of(path: Iterable[str | int]) -> str:
    """That of the part to which these keys and indexes lead from the root."""
    return "".join(f"/{_escaped(step)}" for step in path)


def pointer_below(pointer: str, step: str | int) -> str:
    """That of a member or an entry of the part that `pointer` names."""
    return f"{pointer}/{_escaped(step)}"


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")
