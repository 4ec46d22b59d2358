"""What lists, statistics and exports of executions can be narrowed by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypedDict


class Filters(TypedDict, total=False):
    """All conditions hold together. None is no condition. Times are `datetime` with a time zone, durations text
    (`30s`, `1h30m`)."""

    status: Sequence[str] | None
    """Any of these."""
    flow: str | None
    namespace: str | None
    tags: Mapping[str, str | None] | None
    """All of these; None is whatever value."""
    trigger: str | None
    """A kind (`schedule`), or a kind and an id (`schedule:nightly`)."""
    kind: str | None
    """`unit` or `any` for parts of executions that run elsewhere."""
    parent: str | None
    root: str | None
    replay_of: str | None
    worker: str | None
    """The id of the one that runs it now."""
    created_after: datetime | None
    created_before: datetime | None
    started_after: datetime | None
    started_before: datetime | None
    finished_after: datetime | None
    finished_before: datetime | None
    min_duration: str | None
    max_duration: str | None


class TextFilters(Filters, total=False):
    """Besides, substrings of three characters and more, without regard to case."""

    q: str | None
    """In the input, the output or the error."""
    input_contains: str | None
    output_contains: str | None


def filter_params(filters: Filters) -> dict[str, str | Sequence[str] | None]:
    """As the API takes them; what is None is left out."""
    params: dict[str, str | Sequence[str] | None] = {}
    for name, value in filters.items():
        if isinstance(value, datetime):
            params[name] = value.isoformat()
        elif name == "tags" and isinstance(value, Mapping):
            params["tag"] = [key if one is None else f"{key}:{one}" for key, one in value.items()]
        elif isinstance(value, str):
            params[name] = value
        elif isinstance(value, Sequence):
            params[name] = list(value)
    return params
