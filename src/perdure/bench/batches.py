"""What a stretch of work cost the store: the recorder's batches, and what the database counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from perdure.base.clock import SystemClock
from perdure.bench.embedded import Embedded
from perdure.bench.figures import BenchFailed, percentile
from perdure.store.activity import Activity
from perdure.store.commands import ProbeSpace
from perdure.store.probes import Probes


class Cost:
    """Of what was done within `metered`; read it afterwards."""

    def __init__(self) -> None:
        self.sizes: Counter[int] = Counter()
        self.activity: Activity | None = None

    def details(self, what: str, count: float) -> dict[str, Any]:
        """Further numbers of a figure; those of the database are for each of `count` executions or steps (`what`)."""
        ordered = sorted(self.sizes.elements())
        if not ordered:
            raise BenchFailed("the recorder wrote nothing")
        found: dict[str, Any] = {
            "batches": len(ordered),
            "batch_mean": sum(ordered) / len(ordered),
            "batch_p50": percentile(ordered, 0.5),
            "batch_max": ordered[-1],
            f"batches_per_{what}": len(ordered) / count,
        }
        done = self.activity
        if done is not None:
            found |= {
                f"transactions_per_{what}": done.transactions / count,
                f"rows_per_{what}": done.rows / count,
                f"wal_bytes_per_{what}": done.wal_bytes / count,
            }
            if done.statements is not None:
                found[f"statements_per_{what}"] = done.statements / count
        return found

    def words(self, what: str, count: float) -> str:
        """The same for people."""
        found = self.details(what, count)
        text = (
            f"batches of {found['batch_mean']:.0f} (p50 {found['batch_p50']}, most {found['batch_max']}), "
            f"{found[f'batches_per_{what}']:.3f} of them per {what}"
        )
        if self.activity is None:
            return text
        text += (
            f"; the database: {found[f'transactions_per_{what}']:.3f} transactions, {found[f'rows_per_{what}']:.1f} rows, "
            f"{found[f'wal_bytes_per_{what}'] / 1000:.1f} kB of WAL"
        )
        statements = found.get(f"statements_per_{what}")
        return text if statements is None else f"{text}, {statements:.2f} statements"


@asynccontextmanager
async def metered(probes: Probes, house: Embedded) -> AsyncIterator[Cost]:
    """Measure what is done within; entering and leaving may take seconds."""
    cost = Cost()
    recorder = house.engine.recorder

    async def stir() -> None:
        await recorder.execute(ProbeSpace(at=SystemClock().now()))

    before = await probes.activity(stir)
    sizes = recorder.stats.sizes.copy()
    yield cost
    cost.sizes = recorder.stats.sizes - sizes
    after = await probes.activity(stir)
    cost.activity = None if before is None or after is None else after.since(before)
