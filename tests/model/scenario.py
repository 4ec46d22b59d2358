"""Flows and what their attempts come to, drawn by chance: the same scenario always tells the same outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from perdure.model.definition import Flow, Node, OnInterrupt, OnItemError, Retry, RunIf
from perdure.model.execution import NodeRun
from perdure.model.failure import Failure

SECOND = 1_000_000


@dataclass(frozen=True)
class Scenario:
    """`outcomes` holds what attempts come to by (node, whether it compensates), in turn for items and attempts.

    An outcome is ok, fail (may be retried), fatal (may not), late (timed out), orphan or refused (at once).
    `when` of a node is `true`, `false` or `error`; its `foreach` is a number of items or `error`.
    """

    flow: Flow
    outcomes: dict[tuple[str, bool], tuple[str, ...]]
    output_fails: bool = False
    deadline_at: int | None = None
    stable: bool = False
    """What it comes to depends on nothing but the outcomes: neither on crashes nor on how long a child takes."""

    def outcome(self, run: NodeRun) -> str:
        return self.attempt_outcome(run.node, run.ordinal, run.attempt, compensates=run.compensates)

    def unit_end(self, run: NodeRun) -> tuple[str, Failure | None]:
        """What the unit of a run comes to, which makes all of its attempts."""
        spec = self.flow.nodes[run.node]
        spec = spec.compensate if run.compensates and spec.compensate is not None else spec
        for attempt in range(1, spec.retry.attempts + 1):
            outcome = self.attempt_outcome(run.node, run.ordinal, attempt, compensates=run.compensates)
            if outcome == "ok":
                return "completed", None
            last = attempt == spec.retry.attempts
            if last or outcome in ("fatal", "refused", "orphan"):
                code = "timeout" if outcome == "late" else "node_failed"
                return "failed", Failure(code=code, message=f"its attempt was {outcome}", attempt=attempt)
        raise AssertionError("unreachable")

    def attempt_outcome(self, node: str, ordinal: int, attempt: int, *, compensates: bool = False) -> str:
        outcomes = self.outcomes[node, compensates]
        return outcomes[(ordinal + attempt - 1) % len(outcomes)]


def random_scenario(rng: Random, *, stable: bool = False) -> Scenario:
    nodes: dict[str, Node] = {}
    outcomes: dict[tuple[str, bool], tuple[str, ...]] = {}
    for index in range(rng.randint(1, 7)):
        node_id = f"n{index}"
        earlier = list(nodes)
        needs = tuple(sorted(rng.sample(earlier, rng.randint(0, min(2, len(earlier))))))
        nodes[node_id] = _random_node(rng, node_id, needs, stable=stable)
        outcomes[node_id, False] = _random_outcomes(rng, nodes[node_id])
        compensate = nodes[node_id].compensate
        if compensate is not None:
            outcomes[node_id, True] = _random_outcomes(rng, compensate)
    deadline_at = rng.choice([None] * 12 + [8, 60, 5 * SECOND, 40 * SECOND]) if not stable else None
    return Scenario(Flow("default/drawn", nodes), outcomes, rng.random() < 0.1, deadline_at, stable)


def _random_node(rng: Random, node_id: str, needs: tuple[str, ...], *, stable: bool) -> Node:
    run_if = rng.choice([RunIf.SUCCEEDED, RunIf.SUCCEEDED, *RunIf]) if needs else rng.choice([*RunIf][:2])
    if rng.random() < 0.15:
        run_if = RunIf.ALWAYS
    foreach: Any = None
    if rng.random() < 0.4:
        foreach = rng.choice([0, 1, 2, 3, 4, "error"])
    undo = None
    if rng.random() < 0.4:
        undo = Node(
            node_id,
            type_ := _random_type(rng, asks=False),
            {},
            queue=_random_queue(rng, type_),
            **_random_handling(rng, stable=stable),
        )
    type_ = _random_type(rng)
    queue = _random_queue(rng, type_)
    return Node(
        node_id,
        type_,
        {},
        needs=needs,
        queue=queue,
        spread=type_ == "work" and foreach is not None and rng.random() < 0.3,
        when=rng.choice([None, None, None, None, "true", "false", "error"]),
        run_if=run_if,
        foreach=foreach,
        parallel=rng.choice([None, 1, 2]) if foreach is not None else None,
        key="item" if foreach is not None and rng.random() < 0.3 else None,
        on_item_error=rng.choice([*OnItemError]),
        compensate=undo,
        **_random_handling(rng, stable=stable),
    )


def _random_type(rng: Random, *, asks: bool = True) -> str:
    """An `ask` waits for somebody from outside, which what undoes must not."""
    return rng.choice(["work", "work", "work", "sleep", "flow"] + ["ask"] * asks)


def _random_queue(rng: Random, type_: str) -> str | None:
    """Work for another queue becomes a unit, work for the execution's own does not."""
    return rng.choice([None, None, "default", "gpu", "gpu"]) if type_ == "work" else None


def _random_handling(rng: Random, *, stable: bool) -> dict[str, Any]:
    attempts = rng.choice([1, 1, 2, 3])
    shortest = rng.choice([0, SECOND, 10 * SECOND])
    return {
        "retry": Retry(attempts=attempts, backoff_min=shortest, backoff_max=4 * shortest),
        "timeout": rng.choice([None, 3 * SECOND, 20 * SECOND]),
        "on_interrupt": OnInterrupt.RERUN
        if stable
        else rng.choice([OnInterrupt.RERUN, OnInterrupt.RERUN, OnInterrupt.FAIL]),
    }


def _random_outcomes(rng: Random, node: Node) -> tuple[str, ...]:
    choices = ["ok", "ok", "ok", "fail", "fatal", "refused"]
    if node.type == "sleep":
        choices = ["ok", "ok", "refused"]
    elif node.timeout is not None:
        choices.append("late")
    if node.type == "work":
        choices.append("orphan")
    return tuple(rng.choice(choices) for _ in range(rng.randint(1, 4)))
