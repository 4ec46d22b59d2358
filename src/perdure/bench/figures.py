"""What a bench hands back: figures with their budget and the raw limit beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec


class BenchFailed(Exception):
    """Something is wrong, not merely slow: an execution did not complete, an event was lost."""


class Unit(StrEnum):
    PER_SECOND = "1/s"
    MILLISECONDS = "ms"
    SECONDS = "s"
    MEGABYTES = "MB"
    MEGABYTES_PER_SECOND = "MB/s"
    PERCENT = "%"
    TIMES = "×"
    """Of what it is compared with."""

    @property
    def more_is_better(self) -> bool:
        return self in (Unit.PER_SECOND, Unit.MEGABYTES_PER_SECOND, Unit.TIMES)


class Verdict(StrEnum):
    AIM = "aim"
    """As good as we aim at."""
    OK = "ok"
    """As good as it must be."""
    UNDER = "under"
    """Not as good as it must be."""


class Budget(msgspec.Struct, frozen=True):
    must: float
    aim: float

    def judge(self, value: float, unit: Unit) -> Verdict:
        sign = 1 if unit.more_is_better else -1
        if sign * value >= sign * self.aim:
            return Verdict.AIM
        return Verdict.OK if sign * value >= sign * self.must else Verdict.UNDER


class RawLimit(msgspec.Struct, frozen=True):
    """What the bare machine does, measured in the same run, in the figure's unit."""

    what: str
    value: float


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured row. `details` are further numbers, with their unit last in their names."""

    name: str
    unit: Unit
    value: float
    budget: Budget | None = None
    raw: RawLimit | None = None
    note: str = ""
    details: dict[str, Any] = {}

    @property
    def verdict(self) -> Verdict | None:
        return None if self.budget is None else self.budget.judge(self.value, self.unit)

    @property
    def ratio(self) -> float | None:
        """The value over the raw limit: a share of it for rates, a multiple of it for times."""
        return None if self.raw is None or not self.raw.value else self.value / self.raw.value


class Failure(msgspec.Struct, frozen=True):
    bench: str
    message: str


class Spread(msgspec.Struct, frozen=True):
    """The middle and the tail of many measurements, in their unit."""

    count: int
    p50: float
    p99: float
    max: float


def spread(values: Iterable[float], *, scale: float = 1.0) -> Spread:
    """Nearest-rank percentiles of `values`, each multiplied by `scale`. Raises ValueError without any."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was measured")
    return Spread(
        len(ordered),
        percentile(ordered, 0.50) * scale,
        percentile(ordered, 0.99) * scale,
        ordered[-1] * scale,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the ascending values do not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
