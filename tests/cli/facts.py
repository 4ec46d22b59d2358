"""Events for views, made short."""

from typing import Any

from perdure.base.clock import to_rfc3339
from perdure.wire.events import Event
from perdure.wire.nodes import GraphNode

NOON = 1_795_348_800_000_000
ID = "01936b1e-5f3a-7c2d-9b1a-0c6a8f3e2d71"


def event(seq: int, type: str, node: str | None = None, ordinal: int = 0, *, attempt: int = 1, **data: Any) -> Event:
    """Event number `seq`, that many tenths of a second after noon."""
    return Event(
        seq=seq,
        cursor=str(seq),
        execution=ID,
        flow="default/x",
        type=type,
        at=to_rfc3339(NOON + seq * 100_000),
        node=node,
        ordinal=None if node is None else ordinal,
        attempt=None if node is None else attempt,
        data=data or None,
    )


def graph_node(id: str, *, foreach: bool = False) -> GraphNode:
    return GraphNode(
        id=id, type="python", description=None, run_if="succeeded", when=None, foreach=foreach, compensated_by=None
    )
