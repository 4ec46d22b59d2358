"""Long work takes what time it may of each batch, whatever the disk and the rows cost."""

from __future__ import annotations

import pytest

from perdure.engine.portion import Portion
from perdure.store.recorder import RecorderStats

LEAST, MOST = 10, 1_000
BUDGET_S = 0.005


class Machine:
    """Where any batch takes `plain_s`, and each unit of the work `unit_s` more."""

    def __init__(self, *, plain_s: float, unit_s: float, others: int = 1) -> None:
        self.plain_s = plain_s
        self.unit_s = unit_s
        self.others = others
        """Batches of others between two of the work."""
        self.stats = RecorderStats()
        self.portion = Portion(self.stats, least=LEAST, most=MOST, budget_s=BUDGET_S)

    def work(self, *, batches: int) -> int:
        """The size of a portion in the end."""
        for _ in range(batches):
            for _ in range(self.others):
                self.stats.note_commit(self.plain_s, entries=1)
            self.batch(self.plain_s + self.portion.size * self.unit_s)
        return self.portion.size

    def batch(self, seconds: float) -> None:
        self.stats.note_commit(seconds, entries=1)
        self.portion.done(self.portion.size)


@pytest.mark.parametrize("plain_s", [0.000_5, 0.005, 0.05], ids=["quick disk", "disk", "slow disk"])
@pytest.mark.parametrize("unit_s", [0.000_02, 0.000_1, 0.000_4])
def test_a_portion_takes_its_time_of_a_batch_and_no_more(plain_s: float, unit_s: float) -> None:
    assert Machine(plain_s=plain_s, unit_s=unit_s).work(batches=30) * unit_s == pytest.approx(BUDGET_S, rel=0.25)


def test_where_nobody_else_writes_the_whole_batch_is_as_long() -> None:
    machine = Machine(plain_s=0.002, unit_s=0.000_02, others=0)
    assert machine.plain_s + machine.work(batches=30) * machine.unit_s == pytest.approx(BUDGET_S, rel=0.1)


def test_it_is_never_less_or_more_than_is_sensible() -> None:
    assert Machine(plain_s=0.001, unit_s=1.0).work(batches=10) == LEAST
    assert Machine(plain_s=0.001, unit_s=0.0).work(batches=20) == MOST


def test_one_batch_that_had_bad_luck_makes_the_next_half_as_large_and_no_smaller() -> None:
    machine = Machine(plain_s=0.002, unit_s=0.000_02)
    before = machine.work(batches=30)
    machine.batch(2.0)
    assert machine.portion.size == pytest.approx(before / 2, rel=0.1)
    assert machine.work(batches=10) == pytest.approx(before, rel=0.1)
