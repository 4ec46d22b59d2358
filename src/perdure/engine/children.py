"""From a `flow` node's rendered call to the row of its child execution."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.base.codec import encode
from perdure.base.ids import id_text
from perdure.engine.requests import StartRequest
from perdure.engine.shop import Shop
from perdure.errors import CallerError
from perdure.flows.program import Rendered
from perdure.model.execution import NodeRun
from perdure.model.failure import Failure
from perdure.nodes.flow import parse_flow_config
from perdure.nodes.interface import NodeFailed
from perdure.store.records import ExecutionRecord, NewExecution


async def build_child(
    shop: Shop, record: ExecutionRecord, run: NodeRun, rendered: Rendered, *, goes_on: bool = False
) -> NewExecution:
    """The child, not yet stored. Raises `NodeFailed`.

    `goes_on`: the parent is a replay, and the child takes over what stands of the one that the original had there.
    """
    try:
        target = parse_flow_config(rendered.config, rendered.with_)
        names = shop.masker.names_in(encode(target.input))
        if names:
            raise NodeFailed(_secret_in_input(names))
        request = StartRequest(
            workspace=record.workspace,
            flow=target.flow,
            version=target.version,
            input=target.input,
            trigger_kind="flow",
            trigger_id=id_text(record.id),
        )
        earlier = await _earlier_child(shop, record, run) if goes_on else None
        child = None
        if earlier is not None:
            child = await shop.replays.child(request, parent=(record, run), earlier=earlier)
        return child or await shop.starts.child(request, parent=(record, run))
    except CallerError as error:
        details = {"problems": [encode(problem).decode() for problem in error.problems]}
        raise NodeFailed(Failure(code=error.code, message=str(error), retryable=False, details=details)) from None
    except ValueError as error:
        raise NodeFailed(Failure(code="invalid_config", message=str(error), retryable=False)) from None


async def _earlier_child(shop: Shop, record: ExecutionRecord, run: NodeRun) -> bytes | None:
    """The child of the same node run in the original; none for a further attempt, which is one from the start."""
    if record.replay_of is None or run.attempt > 1:
        return None
    original = await shop.store.node_runs.get(record.workspace, record.replay_of, run.node, run.ordinal, run.label)
    return None if original is None else original.child


def _secret_in_input(names: Sequence[str]) -> Failure:
    shown = " and ".join(f"${{secrets.{name}}}" for name in names)
    return Failure(
        code="secret_in_input",
        message=f"the child's input would hold the value of {shown}, and an input is stored as it is; "
        "name the secret in the child flow instead",
        retryable=False,
    )
