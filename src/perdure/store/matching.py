"""Whether a record meets a filter: what `reads.filters` says in SQL, for records that are at hand."""

from __future__ import annotations

from perdure.model.states import ExecutionKind
from perdure.store.interface import ExecutionFilter
from perdure.store.records import ExecutionRecord

_SAME = ("flow", "namespace", "trigger_kind", "trigger_id", "parent", "root", "replay_of", "worker")


def matches(record: ExecutionRecord, filter: ExecutionFilter) -> bool:
    """The workspace is the caller's business. The tags of a unit are its parent's, and not at hand: it has none."""
    return (
        (filter.kind is None or record.kind is filter.kind)
        and (not filter.statuses or record.status in filter.statuses)
        and all(getattr(filter, name) in (None, getattr(record, name)) for name in _SAME)
        and _has_tags(record, filter)
        and all(_is_within(record, filter, name) for name in ("created", "started", "finished"))
        and _took(record, filter)
    )


def _has_tags(record: ExecutionRecord, filter: ExecutionFilter) -> bool:
    if filter.tags and record.kind is ExecutionKind.UNIT:
        return False
    return all(key in record.tags and value in (None, record.tags[key]) for key, value in filter.tags)


def _is_within(record: ExecutionRecord, filter: ExecutionFilter, name: str) -> bool:
    after, before = getattr(filter, f"{name}_after"), getattr(filter, f"{name}_before")
    if after is None and before is None:
        return True
    at = getattr(record, f"{name}_at")
    return at is not None and (after is None or at >= after) and (before is None or at < before)


def _took(record: ExecutionRecord, filter: ExecutionFilter) -> bool:
    if filter.min_duration is None and filter.max_duration is None:
        return True
    if record.started_at is None:
        return False
    took = (filter.now if record.finished_at is None else record.finished_at) - record.started_at
    least, most = filter.min_duration, filter.max_duration
    return (least is None or took >= least) and (most is None or took <= most)
