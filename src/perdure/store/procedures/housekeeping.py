"""Small regular work: folding counters, forgetting what is past its time."""

from __future__ import annotations

from typing import Any

from perdure.base.clock import DAY, HOUR
from perdure.store.commands import FoldCounters, ForgetKeys, TrimFeed
from perdure.store.procedures.context import Context
from perdure.store.statements import All, Many, Procedure

HOURS_A_DAY = DAY // HOUR


def fold_counters(context: Context, command: FoldCounters) -> Procedure[int]:
    sums = yield All("counter_deltas_sum", {"limit": command.limit})
    if not sums:
        return 0
    yield Many("counters_add", [row[:6] for row in sums])
    hours: dict[tuple[Any, ...], int] = {}
    days: dict[tuple[Any, ...], int] = {}
    totals: dict[tuple[Any, ...], int] = {}
    for workspace, flow, status, trigger_kind, hour, delta, _, _ in sums:
        of_hour = (workspace, status, trigger_kind, hour)
        hours[of_hour] = hours.get(of_hour, 0) + delta
        total = (workspace, flow, status, trigger_kind)
        totals[total] = totals.get(total, 0) + delta
        day = (*total, hour // HOURS_A_DAY)
        days[day] = days.get(day, 0) + delta
    yield Many("hours_add", [(*key, delta) for key, delta in sorted(hours.items())])
    yield Many("days_add", [(*key, delta) for key, delta in sorted(days.items())])
    yield Many("totals_add", [(*key, delta) for key, delta in sorted(totals.items())])
    yield All("counter_deltas_drop", {"last": max(row[6] for row in sums)})
    return sum(row[7] for row in sums)


def forget_keys(context: Context, command: ForgetKeys) -> Procedure[int]:
    stale = yield All("keys_stale", {"before": command.before, "limit": command.limit})
    if stale:
        yield Many("keys_drop", stale)
    return len(stale)


def trim_feed(context: Context, command: TrimFeed) -> Procedure[int]:
    """The newest row of every writer stays, so that its numbers go on after a restart."""
    stale = yield All("feed_stale", {"before": command.before, "limit": command.limit})
    if stale:
        yield Many("feed_drop", stale)
    return len(stale)
