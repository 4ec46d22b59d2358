"""The written model: which statements a commit of an execution's owner consists of, and how many rows each brings.

An execution of n steps, one after the other, that is started where it runs, has n + 1 commits: its start, a
step's result for all but the last, and its end with the last result. Changes go together in one round trip, what
answers goes alone. Commits of many executions travel together: then their rows add up, and their statements do not. Names are those of `perdure/store/queries`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FRAME = 2
"""Round trips of a transaction besides its statements: BEGIN; the writer's mark and COMMIT, sent together."""
MARK = "writer_mark"
PER_BATCH = frozenset({"feed_put", "workers_alive", MARK})
"""Of these there is one row for a transaction, whatever it brings."""

Commit = tuple[Mapping[str, int], ...]
"""One round trip after the other: the statements that travel together, each with its rows."""

START: Commit = (
    {"workers_alive": 1},
    {"executions_put": 1},
    {"payloads_put": 1, "events_put": 1, "counter_deltas_put": 1, "feed_put": 1},
)
STEP: Commit = (
    {"owned": 1},
    {"executions_touch": 1, "node_runs_put": 1, "events_put": 1, "feed_put": 1},
)
END: Commit = (
    {"owned": 1},
    {
        "executions_move": 1,
        "node_runs_put": 1,
        "payloads_end": 1,
        "waiting_clear": 0,
        "events_put": 1,
        "counter_deltas_put": 2,
        "feed_put": 1,
    },
)
READS = frozenset({"workers_alive", "owned"})
OWNERS = frozenset({MARK, *(name for commit in (START, STEP, END) for trip in commit for name in trip)})
"""The statements of an execution's owner."""


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
    commits: list[Commit] = [START, *[STEP] * (steps - 1), END]
    calls = {MARK: len(commits)}
    rows = {MARK: len(commits)}
    for trip in (trip for commit in commits for trip in commit):
        for name, count in trip.items():
            calls[name] = calls.get(name, 0) + 1
            rows[name] = rows.get(name, 0) + count
    return Predicted(len(commits), sum(len(commit) + FRAME for commit in commits), calls, rows)
