"""The written model: which statements a commit of an execution's owner consists of, and how many rows each brings.

An execution of n steps, one after the other, that is started where it runs, has n + 1 commits: its start, a
step's result for all but the last, and its end with the last result. Commits of many executions travel together:
then their rows add up, and their statements do not. Names are those of `perdure/store/queries`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FRAME = 2
"""Round trips of a transaction besides its statements: BEGIN; the writer's mark and COMMIT, sent together."""
PER_BATCH = frozenset({"feed_put", "workers_alive", "writer_mark"})
"""Of these there is one row for a transaction, whatever it brings."""

START = {
    "workers_alive": 1,
    "executions_put": 1,
    "payloads_put": 1,
    "events_put": 1,
    "counter_deltas_put": 1,
    "feed_put": 1,
    "writer_mark": 1,
}
STEP = {
    "owned": 1,
    "executions_touch": 1,
    "node_runs_put": 1,
    "events_put": 1,
    "feed_put": 1,
    "writer_mark": 1,
}
END = {
    "owned": 1,
    "executions_move": 1,
    "node_runs_put": 1,
    "payloads_end": 1,
    "waiting_clear": 0,
    "events_put": 1,
    "counter_deltas_put": 2,
    "feed_put": 1,
    "writer_mark": 1,
}
READS = frozenset({"workers_alive", "owned"})


class Predicted(NamedTuple):
    """For one execution that shares its transactions with nobody."""

    transactions: int
    round_trips: int
    calls: Mapping[str, int]
    rows: Mapping[str, int]

    @property
    def rows_written(self) -> int:
        return sum(count for name, count in self.rows.items() if name not in READS)


def predicted(steps: int) -> Predicted:
    """An execution of that many steps, one after the other."""
    commits: list[Mapping[str, int]] = [START, *[STEP] * (steps - 1), END]
    calls: dict[str, int] = {}
    rows: dict[str, int] = {}
    for commit in commits:
        for name, count in commit.items():
            calls[name] = calls.get(name, 0) + 1
            rows[name] = rows.get(name, 0) + count
    # The mark goes with COMMIT.
    trips = sum(len(commit) - 1 + FRAME for commit in commits)
    return Predicted(len(commits), trips, calls, rows)
