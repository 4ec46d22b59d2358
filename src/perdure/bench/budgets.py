"""The budgets of DESIGN §8 for one process on two cores with fsync on, named once."""

from __future__ import annotations

from perdure.bench.figures import Budget

ONE_STEP_IN_PROCESS = Budget(1_500, 2_500)
ONE_STEP_OVER_HTTP = Budget(700, 1_200)
CHAIN_STEPS = Budget(8_000, 12_000)
FAN_OUT_S = Budget(0.2, 0.1)
LATENCY_IN_PROCESS_MS = Budget(4, 2)
LATENCY_OVER_HTTP_MS = Budget(8, 4)
HISTORY_MS = Budget(10, 3)
EVENT_LATENCY_MS = Budget(20, 5)
READY_S = Budget(1.5, 0.7)
IDLE_MEMORY_MB = Budget(120, 80)
IDLE_CPU_PERCENT = Budget(1.0, 0.1)
RECOVERY_S = Budget(3, 1)
