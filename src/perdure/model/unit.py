"""Units: node runs whose attempts are made elsewhere, each in a child execution of its own.

A node leaves its execution where it is spread, or where it names a queue that the execution does not wait in. The
execution decides all that concerns the graph (when, items, what follows); the unit all that concerns the attempts
(retries, timeout, isolation, interruptions). So each of the two has one owner at a time.
"""

from __future__ import annotations

import msgspec

from perdure.model.definition import Flow, Node, OnItemError, RunIf


def may_leave(spec: Node) -> bool:
    """Whether runs of the node may become units."""
    return spec.spread or spec.queue is not None


def leaves(spec: Node, *, queue: str) -> bool:
    """Whether runs of the node become units of an execution that waits in `queue`."""
    return spec.spread or (spec.queue is not None and spec.queue != queue)


def unit_flow(flow: Flow, node: str, *, compensates: bool) -> Flow:
    """What a unit runs: that node (or what undoes it) alone and once, without anything that its execution decides."""
    spec = flow.nodes[node]
    if compensates:
        assert spec.compensate is not None
        spec = spec.compensate
    alone = msgspec.structs.replace(
        spec, id=node, needs=(), when=None, run_if=RunIf.SUCCEEDED, foreach=None, parallel=None, key=None,
        on_item_error=OnItemError.FAIL, spread=False, queue=None, compensate=None,
    )  # fmt: skip
    return Flow(flow.id, {node: alone}, priority=flow.priority, queue=flow.queue, max_recoveries=flow.max_recoveries)
