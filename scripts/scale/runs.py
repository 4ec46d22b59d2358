"""The runs whose costs the page shows: an execution of one step, and what each further step adds."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from scripts.scale.measure import CHAIN, ONE_STEP, STEPS, Measured, house

IN_FLIGHT = 50
_WARM = 100


class Share(NamedTuple):
    """For one execution, or one step."""

    transactions: float
    round_trips: float
    rows: float
    heap_bytes: float
    index_bytes: float
    wal_bytes: float
    server_us: float

    def __sub__(self, other: Share) -> Share:
        return Share(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def over(self, count: int) -> Share:
        return Share(*(mine / count for mine in self))


def share(measured: Measured) -> Share:
    return Share(
        measured.transactions, measured.round_trips, measured.rows_written, measured.heap_bytes, measured.index_bytes,
        measured.wal_bytes, measured.server_s * 1e6,
    ).over(measured.executions)  # fmt: skip


async def measured_runs(url: str, home: Path) -> dict[str, Share]:
    """By what it is for. The store at that URL is empty before."""
    found: dict[str, Share] = {}
    async with house(url, home) as own:
        for flow in (ONE_STEP, CHAIN):
            await own.run(flow, executions=_WARM, in_flight=IN_FLIGHT)
        for name, in_flight, executions in (("alone", 1, 400), (f"{IN_FLIGHT} in flight", IN_FLIGHT, 4_000)):
            one = share(await own.run(ONE_STEP, executions=executions, in_flight=in_flight))
            chain = share(await own.run(CHAIN, executions=executions // 4, in_flight=in_flight))
            found[f"an execution of one step, {name}"] = one
            found[f"each further step, {name}"] = (chain - one).over(STEPS - 1)
    return found
