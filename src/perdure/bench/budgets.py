"""The budgets for two cores with fsync on, named once: DESIGN §8's for one process with its own store, and what
another must reach on a PostgreSQL of the same machine."""

from __future__ import annotations

import msgspec

from perdure.bench.figures import Budget


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    one_step_in_process: Budget = Budget(1_500, 2_500)
    one_step_over_http: Budget = Budget(700, 1_200)
    chain_steps: Budget = Budget(8_000, 12_000)
    fan_out_s: Budget = Budget(0.2, 0.1)
    latency_in_process_ms: Budget = Budget(4, 2)
    latency_over_http_ms: Budget = Budget(8, 4)
    history_ms: Budget = Budget(10, 3)
    search_ms: Budget = Budget(100, 30)
    event_latency_ms: Budget = Budget(20, 5)
    ready_s: Budget = Budget(1.5, 0.7)
    idle_memory_mb: Budget = Budget(120, 80)
    idle_cpu_percent: Budget = Budget(1.0, 0.1)
    recovery_s: Budget = Budget(3, 1)
    backup_mb_per_s: Budget = Budget(20, 60)
    second_worker: Budget = Budget(0.9, 1.0)
    """The total of two workers over that of one."""


EMBEDDED = Budgets()
POSTGRES = Budgets(
    one_step_in_process=Budget(700, 1_500),
    chain_steps=Budget(4_000, 6_000),
    fan_out_s=Budget(0.5, 0.2),
    # A lease has to run out before others take over.
    recovery_s=Budget(40, 31),
    # Row by row, so that it is the same as that of a file.
    backup_mb_per_s=Budget(5, 15),
)
