"""Units: node runs whose attempts are made elsewhere, each in a child execution of its own.

A node leaves its execution where it is spread, or where the queue or the tags of workers that it names are not those
that the execution waits for. The execution decides all that concerns the graph (when, items, what follows); the unit all that concerns the attempts
(retries, timeout, isolation, interruptions). So each of the two has one owner at a time.
"""

from __future__ import annotations

import msgspec

from perdure.model.definition import Flow, Node, OnItemError, RunIf
from perdure.model.queue_line import line_of, queue_of, tags_of


def may_leave(spec: Node) -> bool:
    """Whether runs of the node may become units."""
    return spec.spread or spec.queue is not None or spec.requires is not None


def unit_line(spec: Node, *, line: str) -> str:
    """Where units of the node wait whose execution waits in `line`: what the node does not say is as there."""
    return line_of(
        queue_of(line) if spec.queue is None else spec.queue, tags_of(line) if spec.requires is None else spec.requires
    )


def leaves(spec: Node, *, line: str) -> bool:
    """Whether runs of the node become units of an execution that waits in `line`."""
    return spec.spread or unit_line(spec, line=line) != line


def unit_flow(flow: Flow, node: str, *, compensates: bool) -> Flow:
    """What a unit runs: that node (or what undoes it) alone and once, without anything that its execution decides."""
    spec = flow.nodes[node]
    if compensates:
        assert spec.compensate is not None
        spec = spec.compensate
    alone = msgspec.structs.replace(
        spec, id=node, needs=(), when=None, run_if=RunIf.SUCCEEDED, foreach=None, parallel=None, key=None,
        on_item_error=OnItemError.FAIL, spread=False, queue=None, requires=None, compensate=None,
    )  # fmt: skip
    return Flow(flow.id, {node: alone}, priority=flow.priority, queue=flow.queue, max_recoveries=flow.max_recoveries)
