"""Small regular work: folding counters, forgetting what is past its time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from perdure.base.clock import DAY, HOUR
from perdure.store.commands import FoldCounters, ForgetKeys, ForgetRates, ForgetWorkers, ProbeSpace, TrimFeed
from perdure.store.procedures.context import Context
from perdure.store.statements import All, Many, Procedure

HOURS_A_DAY = DAY // HOUR
ALL_FLOWS = ""

Sums = Counter[tuple[Any, ...]]


def fold_counters(context: Context, command: FoldCounters) -> Procedure[int]:
    sums = yield All("counter_deltas_sum", {"limit": command.limit})
    if not sums:
        return 0
    counters, hours, days, totals = Sums(), Sums(), Sums(), Sums()
    for workspace, flow, status, trigger_kind, hour, _, delta, _, _ in sums:
        counters[workspace, flow, status, trigger_kind, hour] += delta
        hours[workspace, status, trigger_kind, hour] += delta
        totals[workspace, flow, status, trigger_kind] += delta
        days[workspace, flow, status, trigger_kind, hour // HOURS_A_DAY] += delta
    for add, drop, found in (
        ("counters_add", "counters_drop", counters),
        ("hours_add", "hours_drop", hours),
        ("days_add", "days_drop", days),
        ("totals_add", "totals_drop", totals),
        ("durations_add", "durations_drop", _durations(sums)),
    ):
        # What an execution passes through between two folds comes to nothing here, and leaves no row.
        if changed := sorted((key, delta) for key, delta in found.items() if delta):
            yield Many(add, [(*key, delta) for key, delta in changed])
        if less := [key for key, delta in changed if delta < 0]:
            yield Many(drop, less)
    yield All("counter_deltas_drop", {"last": max(row[7] for row in sums)})
    return sum(row[8] for row in sums)


def _durations(sums: Sequence[Sequence[Any]]) -> Sums:
    """Of those that ended: in all, by day, and by hour; of each flow (but by hour), and of all flows together ('')."""
    found = Sums()
    for workspace, flow, status, trigger_kind, hour, bucket, delta, _, _ in sums:
        if bucket is None:
            continue
        rest = (status, trigger_kind, bucket)
        for name in (flow, ALL_FLOWS):
            found[(workspace, "all", name, 0, *rest)] += delta
            found[(workspace, "day", name, hour // HOURS_A_DAY, *rest)] += delta
        found[(workspace, "hour", ALL_FLOWS, hour, *rest)] += delta
    return found


def forget_keys(context: Context, command: ForgetKeys) -> Procedure[int]:
    stale = yield All("keys_stale", {"before": command.before, "limit": command.limit})
    if stale:
        yield Many("keys_drop", stale)
    return len(stale)


def forget_workers(context: Context, command: ForgetWorkers) -> Procedure[int]:
    gone = yield All("workers_gone", {"before": command.before, "limit": command.limit})
    if gone:
        yield Many("workers_drop", gone)
    return len(gone)


def forget_rates(context: Context, command: ForgetRates) -> Procedure[tuple[str, str] | None]:
    workspace, key = command.after
    seen = yield All("rates_page", {"workspace": workspace, "key": key, "limit": command.limit})
    free = [(workspace, key, command.before) for workspace, key, tat in seen if tat < command.before]
    if free:
        yield Many("rates_drop", free)
    return (seen[-1][0], seen[-1][1]) if len(seen) == command.limit else None


def probe_space(context: Context, command: ProbeSpace) -> Procedure[None]:
    yield All("measure_put", {"name": "probed_at", "value": command.at})


def trim_feed(context: Context, command: TrimFeed) -> Procedure[int]:
    """The newest row of every writer stays, so that its numbers go on after a restart."""
    stale = yield All("feed_stale", {"before": command.before, "limit": command.limit})
    if stale:
        yield Many("feed_drop", stale)
    return len(stale)
