"""How much each bench does: the full run takes minutes, the quick one less than one."""

from __future__ import annotations

import msgspec


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Durations end in their unit; everything else counts."""

    probe_s: float = 1.5
    load_s: float = 6.0
    in_flight: int = 50
    chains_in_flight: int = 200
    fan_out: int = 1_000
    fan_out_rounds: int = 7
    latencies: int = 500
    history: int = 1_000_000
    history_rounds: int = 50
    backed_up: int = 100_000
    event_rounds: int = 300
    streamed_executions: int = 100
    subscribers: int = 1_000
    settling_s: float = 1.0
    """From the signal on, until all streamed executions are under way."""
    stream_s: float = 10.0
    starts: int = 5
    idle_s: float = 5.0
    recovered: int = 200
    backlog: int = 2_500
    """Executions of ten steps that wait for the workers."""
    worker_rounds: int = 2


FULL = Sizes()
QUICK = Sizes(
    probe_s=0.4,
    load_s=1.5,
    fan_out_rounds=3,
    latencies=100,
    history=50_000,
    history_rounds=15,
    backed_up=20_000,
    event_rounds=100,
    stream_s=4.0,
    starts=2,
    idle_s=2.0,
    backlog=1_000,
    worker_rounds=1,
)
