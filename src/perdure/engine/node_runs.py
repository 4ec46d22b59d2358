"""Reading all node runs of an execution, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from perdure.store.interface import NodeRuns
from perdure.store.records import NodeRunRecord

_PAGE = 200


async def every_run(
    node_runs: NodeRuns, workspace: str, id_: bytes, *, node: str | None = None
) -> AsyncIterator[NodeRunRecord]:
    """Those of one node where it is named; in the order of node, ordinal, label. Raises StoreError."""
    after: tuple[str, int, str] | None = None
    while True:
        page = await node_runs.list(workspace, id_, node=node, limit=_PAGE, after=after)
        for run in page:
            yield run
        if len(page) < _PAGE:
            return
        after = (page[-1].node, page[-1].ordinal, page[-1].label)
