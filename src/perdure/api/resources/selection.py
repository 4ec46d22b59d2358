"""Which events a reader of all executions wants."""

from __future__ import annotations

from collections.abc import Collection

from perdure.api.frames import Chosen
from perdure.api.resources.lookup import flow_parameter
from perdure.engine.streams import NumberedEvent
from perdure.model.event import EventType

LOGS = frozenset({EventType.LOG, EventType.LOG_TRUNCATED})
NO_LOGS = frozenset(EventType) - LOGS


def chosen_by(
    *,
    flow: str | None = None,
    namespace: str | None = None,
    types: Collection[EventType] = (),
    kind: str = "any",
    execution: bytes | None = None,
) -> Chosen:
    """The events that everything given fits; `kind` is that of their executions. Raises InvalidIdentifier."""
    flow = None if flow is None else flow_parameter(flow)
    prefix = None if namespace is None else f"{namespace}/"
    fits_type = of_types(types)

    def chosen(item: NumberedEvent) -> bool:
        return (
            (kind in ("any", item.kind))
            and (flow is None or item.flow == flow)
            and (prefix is None or item.flow.startswith(prefix))
            and (execution is None or item.execution_id == execution)
            and fits_type(item)
        )

    return chosen


def of_types(types: Collection[EventType]) -> Chosen:
    """None given are all."""
    if not types:
        return lambda _item: True
    wanted = frozenset(types)
    return lambda item: item.event.type in wanted
