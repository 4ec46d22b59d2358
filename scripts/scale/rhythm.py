"""How often a process asks the store for something: the constants of the engine itself, in one value."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import NamedTuple

from perdure.base.clock import SECOND
from perdure.engine import engine
from perdure.engine import lease as leases
from perdure.engine.loops import counter_folder, loop, rescuer, synchronizer, trimmer
from perdure.engine.pace import Pace
from perdure.engine.settings import EngineSettings
from perdure.store.commands import RescueExecutions
from perdure.store.postgres import signals

_LEASE_S = EngineSettings(home=Path()).lease / SECOND


class Rhythm(NamedTuple):
    """Seconds, unless named otherwise; pauses before the engine's `Pace` stretches them."""

    lease: float = _LEASE_S
    beat: float = _LEASE_S / leases._BEATS
    fence: float = _LEASE_S * leases._FENCE
    look: float = _LEASE_S / rescuer.LOOKS
    look_again: float = rescuer._AGAIN_S
    found_at_once: int = RescueExecutions(at=0, lease=0).limit
    """Dead workers, by one look."""
    claim_hinted: float = engine._CLAIM_SCAN_S
    claim_unhinted: float = engine._CLAIM_POLL_S
    claimed_at_once: int = engine._CLAIMED_AT_ONCE_SHARED
    """Executions, by one claim."""
    timers: float = engine._TIMER_POLL_S
    sign: float = signals.SIGN_AFTER_S
    """Of silence, after which one makes sure that hints still arrive."""
    fold: float = counter_folder._FOLD_S
    trim: float = trimmer._TRIM_S
    hear: float = synchronizer.HEAR_S
    after_error: float = loop._AFTER_ERROR_S

    def per_second(self, *, workers: int, hinted: bool) -> dict[str, float]:
        """Transactions that one idle worker of so many asks for, by what for; signs at most, as others' count too."""
        pace = Pace(_Mean())
        pace.alive = workers
        return {
            "heartbeats": 1 / self.beat,
            "claims": 1 / self.claim_pause(pace, hinted=hinted),
            "timers": 1 / pace.chore(self.timers),
            "rescue": 1 / pace.chore(self.look),
            "signs": 1 / self.sign if hinted else 0.0,
            "counters": 1 / pace.chore(self.fold),
            "trimming": 2 / pace.chore(self.trim),
            "clock": 1 / pace.pause(self.hear),
        }

    def claim_pause(self, pace: Pace, *, hinted: bool) -> float:
        return pace.scan(self.claim_hinted) if hinted else pace.pause(self.claim_unhinted)


class _Mean(Random):
    """Draws what is drawn in the mean."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2
