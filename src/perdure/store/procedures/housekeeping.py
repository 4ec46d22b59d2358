"""Small regular work: folding counters, forgetting what is past its time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from perdure.base.clock import DAY, HOUR
from perdure.base.codec import decode, encode_text
from perdure.base.histogram import packed, unpacked
from perdure.store.commands import FoldCounters, ForgetKeys, ForgetRates, ForgetWorkers, ProbeSpace, TrimFeed
from perdure.store.interface import WRITERS_KEPT
from perdure.store.procedures.context import Context
from perdure.store.statements import All, Lock, Many, Procedure

HOURS_A_DAY = DAY // HOUR
ALL_FLOWS = ""

Sums = Counter[tuple[Any, ...]]


def fold_counters(context: Context, command: FoldCounters) -> Procedure[int]:
    sums = yield All("counter_deltas_sum", {"limit": command.limit})
    if not sums:
        return 0
    if durations := _durations(sums):
        # What is read, added to and written back is not to be changed by another process meanwhile.
        yield Lock("fold", sorted({(key[0],) for key in durations}))
    counters, hours, hour_totals, days, totals = Sums(), Sums(), Sums(), Sums(), Sums()
    for workspace, flow, status, trigger_kind, hour, _, delta, _, _ in sums:
        counters[workspace, flow, status, trigger_kind, hour] += delta
        hours[workspace, status, trigger_kind, hour] += delta
        hour_totals[workspace, hour] += delta
        totals[workspace, flow, status, trigger_kind] += delta
        days[workspace, flow, status, trigger_kind, hour // HOURS_A_DAY] += delta
    for add, drop, found in (
        ("counters_add", "counters_drop", counters),
        ("hours_add", "hours_drop", hours),
        ("hour_totals_add", "hour_totals_drop", hour_totals),
        ("days_add", "days_drop", days),
        ("totals_add", "totals_drop", totals),
        ("durations_add", "durations_drop", durations),
    ):
        # What an execution passes through between two folds comes to nothing here, and leaves no row.
        if changed := sorted((key, delta) for key, delta in found.items() if delta):
            yield Many(add, [(*key, delta) for key, delta in changed])
        if less := [key for key, delta in changed if delta < 0]:
            yield Many(drop, less)
    yield from _add_duration_totals(durations)
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


def _add_duration_totals(durations: Sums) -> Procedure[None]:
    """Whatever became of them and what started them: a period and flow has one row, which is read and written whole."""
    changes: defaultdict[tuple[Any, ...], dict[int, int]] = defaultdict(dict)
    for (workspace, grain, flow, period, _, _, bucket), delta in durations.items():
        added = changes[workspace, grain, flow, period]
        added[bucket] = added.get(bucket, 0) + delta
    if not changes:
        return
    known = yield Many("duration_totals_of", sorted(changes))
    stored = {tuple(key): unpacked(decode(histogram)) for *key, histogram in known}
    kept, gone = [], []
    for place, added in sorted(changes.items()):
        counts = stored.get(place, {})
        for bucket, delta in added.items():
            counts[bucket] = counts.get(bucket, 0) + delta
        numbers = packed(counts if all(counts.values()) else {key: count for key, count in counts.items() if count})
        if numbers:
            kept.append((*place, encode_text(numbers)))
        elif place in stored:
            gone.append(place)
    if kept:
        yield Many("duration_totals_put", kept)
    if gone:
        yield Many("duration_totals_drop", gone)


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
    """The newest row of every writer stays as long as the writer is known, so that readers see what they have missed; in a
    file for ever, so that its numbers go on after a restart."""
    stale = yield All("feed_stale", {"before": command.before, "limit": command.limit, "writers_kept": WRITERS_KEPT})
    if stale:
        yield Many("feed_drop", stale)
    return len(stale)
