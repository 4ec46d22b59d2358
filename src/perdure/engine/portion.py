"""How much of a long piece of work goes into one transaction, so that it holds up nobody."""

from __future__ import annotations

from perdure.store.recorder import RecorderStats


class Portion:
    """Learns from each batch how much fits into a time. What any batch takes, the disk above all, is none of the work's.

    Args:
        stats: of the recorder that writes the batches.
        least, most: bounds of `size`, in whatever units the work is counted.
        budget_s: what the work may add to a batch, in seconds.
    """

    def __init__(self, stats: RecorderStats, *, least: int, most: int, budget_s: float) -> None:
        self._stats = stats
        self._least = least
        self._most = most
        self._budget_s = budget_s
        self._plain_s: float | None = None
        """What batches of others take that come between two of the work's."""
        self._batches = 0
        self._commit_s_sum = 0.0
        self.size = least

    def done(self, units: int) -> None:
        """The newest batch, whose answer has just come, carried out so many."""
        stats = self._stats
        own_s = stats.last_commit_s
        others = stats.batches - self._batches - 1
        if others > 0 and self._batches:
            others_s = max(stats.commit_s_sum - self._commit_s_sum - own_s, 0.0) / others
            self._plain_s = others_s if self._plain_s is None else (self._plain_s + others_s) / 2
        self._batches, self._commit_s_sum = stats.batches, stats.commit_s_sum
        # However quick the work is beside what a batch takes, a part of the time is its own.
        work_s = max(own_s - (self._plain_s or 0.0), own_s / 50)
        fitting = self._budget_s * max(units, 1) / max(work_s, 1e-6)
        # One that had bad luck does not tell how the next one fares.
        self.size = max(self._least, min(self._most, round((self.size + fitting) / 2)))
