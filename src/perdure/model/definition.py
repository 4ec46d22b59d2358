"""A flow's definition after validation: normalised, typed, free of expressions' text syntax.

`perdure.flows` makes these from YAML or JSON; the decisions in `perdure.model.decide` read them.
Durations are microseconds.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

MAX_NODES = 1_000
"""Nodes in one flow."""
MAX_FOREACH_ITEMS = 10_000
MAX_NODE_RUNS = 100_000
"""Node runs of one execution."""
MAX_SPREAD = 1_000
"""Units of one node that exist at a time, where it does not say `parallel`."""
MAX_DEPTH = 32
"""How deep executions may start child executions; units do not count."""
DEFAULT_MAX_RECOVERIES = 5
DEFAULT_NAMESPACE = "default"

_SEGMENT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
NODE_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def is_segment(text: str) -> bool:
    return _SEGMENT.fullmatch(text) is not None


def qualified(name: str) -> str:
    """`namespace/name` of a flow's address; a bare name means `default/name`.

    Raises ValueError when it is no address.
    """
    segments = name.split("/")
    if len(segments) == 1:
        segments = [DEFAULT_NAMESPACE, *segments]
    if len(segments) != 2 or not all(map(is_segment, segments)):
        raise ValueError(
            f"{name!r} is no flow id; write namespace/name, each of a-z 0-9 _ . -, "
            "beginning with a letter or digit, at most 63 characters"
        )
    return "/".join(segments)


class RunIf(StrEnum):
    """Which ends of the nodes it needs let a node run."""

    SUCCEEDED = "succeeded"
    SUCCEEDED_OR_SKIPPED = "succeeded_or_skipped"
    FAILED = "failed"
    ALWAYS = "always"


class OnItemError(StrEnum):
    FAIL = "fail"
    NULL = "null"


class OnInterrupt(StrEnum):
    RERUN = "rerun"
    FAIL = "fail"


class OnLimit(StrEnum):
    QUEUE = "queue"
    REJECT = "reject"
    SKIP = "skip"
    CANCEL_OLDEST = "cancel_oldest"


class Isolation(StrEnum):
    INLINE = "inline"
    PROCESS = "process"
    THREAD = "thread"


class Retry(msgspec.Struct, frozen=True):
    """`attempts` counts all tries; the n-th wait doubles from `backoff_min` up to `backoff_max`, with jitter.

    `on` names errors (exception class names or failure codes); empty means every retryable failure.
    """

    attempts: int = 1
    backoff_min: int = 1_000_000
    backoff_max: int = 60_000_000
    on: tuple[str, ...] = ()


class Concurrency(msgspec.Struct, frozen=True):
    limit: int
    key: Any = None
    """A template over `input`; executions with equal keys share the limit."""
    on_limit: OnLimit = OnLimit.QUEUE


class Rate(msgspec.Struct, frozen=True):
    limit: int
    per: int
    key: Any = None


class Node(msgspec.Struct, frozen=True):
    """A vertex. `config` is what stands under the node type's key, `with_` what stands under `with`."""

    id: str
    type: str
    config: Any
    needs: tuple[str, ...] = ()
    """Explicit ones and those inferred from expressions, without doubles."""
    when: str | None = None
    run_if: RunIf = RunIf.SUCCEEDED
    foreach: Any = None
    parallel: int | None = None
    key: str | None = None
    """A template over `item`, giving each node run of a foreach its label."""
    on_item_error: OnItemError = OnItemError.FAIL
    spread: bool = False
    """Each item of its foreach becomes a unit (`perdure.model.unit`)."""
    queue: str | None = None
    """Whose workers run it; None: where its execution runs."""
    requires: tuple[str, ...] | None = None
    """Tags that a worker must have to run it; None: those of its execution."""
    retry: Retry = Retry()
    timeout: int | None = None
    with_: dict[str, Any] = {}
    env: dict[str, Any] = {}
    isolation: Isolation | None = None
    on_interrupt: OnInterrupt = OnInterrupt.RERUN
    compensate: Node | None = None
    """What undoes this node once it completed; its id is `<id>` and its runs carry the label `compensate`."""
    description: str | None = None


class Flow(msgspec.Struct, frozen=True, dict=True):
    id: str
    """`namespace/name`"""
    nodes: dict[str, Node]
    description: str | None = None
    input_schema: dict[str, Any] = {}
    """JSON Schema 2020-12 of the input; empty accepts any object."""
    output: Any = None
    timeout: int | None = None
    concurrency: Concurrency | None = None
    rate: Rate | None = None
    priority: int = 5
    queue: str = "default"
    requires: tuple[str, ...] = ()
    """Tags that a worker must have to run it."""
    tags: dict[str, str] = {}
    max_recoveries: int = DEFAULT_MAX_RECOVERIES
    triggers: tuple[dict[str, Any], ...] = ()

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    @property
    def name(self) -> str:
        return self.id.split("/")[1]

    @cached_property
    def successors(self) -> dict[str, tuple[str, ...]]:
        """By node id: the nodes that need it, in the order of the flow."""
        found: dict[str, list[str]] = {node_id: [] for node_id in self.nodes}
        for node_id, node in self.nodes.items():
            for need in node.needs:
                found[need].append(node_id)
        return {node_id: tuple(following) for node_id, following in found.items()}

    def has_cleanup(self) -> bool:
        """Whether something must still run when the execution is cancelled or times out."""
        return any(node.run_if is RunIf.ALWAYS or node.compensate is not None for node in self.nodes.values())
