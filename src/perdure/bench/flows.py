"""The flows that the benches run, as documents."""

from __future__ import annotations

from typing import Any

from perdure.base.codec import encode

MEDIA_TYPE = "application/json"
ONE_STEP = "bench/one-step"
CHAIN = "bench/chain"
FAN_OUT = "bench/fan-out"
TICKING = "bench/ticking"
LEDGER = "bench/ledger"
GO = "go"

CHAIN_STEPS = 10
LEDGER_STEPS = 10

_STEPS = "perdure.bench.steps"


def _noop(**more: Any) -> dict[str, Any]:
    return {"python": f"{_STEPS}:noop", **more}


def one_step() -> bytes:
    """One async step that does nothing."""
    return encode({"id": ONE_STEP, "nodes": {"step": _noop()}, "output": "${input}"})


def chain() -> bytes:
    """Ten such steps, one after the other."""
    nodes = {f"step_{n}": _noop(**({"needs": [f"step_{n - 1}"]} if n else {})) for n in range(CHAIN_STEPS)}
    return encode({"id": CHAIN, "nodes": nodes})


def fan_out(width: int) -> bytes:
    """As many node runs at once as there are items, and a step that joins them."""
    nodes = {
        "each": _noop(foreach="${input.items}", parallel=width),
        "join": _noop(needs=["each"]),
    }
    return encode({"id": FAN_OUT, "nodes": nodes})


def ticking() -> bytes:
    """Once the signal `GO` has come, a step for each item of the input, one at a time, each ending with the next tick: two
    events per tick."""
    nodes = {
        "begin": {"signal": GO},
        "tick": {
            "needs": ["begin"],
            "python": f"{_STEPS}:tick",
            "foreach": "${input.items}",
            "parallel": 1,
            "with": {"every_ms": "${input.every_ms}", "phase_ms": "${input.phase_ms}"},
        },
    }
    return encode({"id": TICKING, "nodes": nodes})


def ledger() -> bytes:
    """Ten steps in a row that leave marks outside of the system when they begin."""
    nodes = {
        f"step_{n}": {
            "python": f"{_STEPS}:leave_mark",
            "with": {
                "ledger": "${input.ledger}",
                "execution": "${execution.id}",
                "step": n,
                "ms": "${input.ms}",
            },
            **({"needs": [f"step_{n - 1}"]} if n else {}),
        }
        for n in range(LEDGER_STEPS)
    }
    return encode({"id": LEDGER, "nodes": nodes})
