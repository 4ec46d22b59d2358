"""What the expressions of one execution see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.base.clock import to_rfc3339
from perdure.base.ids import id_text
from perdure.flows.program import Runnable, Scope
from perdure.model.execution import ExecutionState
from perdure.store.records import ExecutionRecord


class Views:
    """Scopes over an execution's state; each holds only the nodes that its expressions name."""

    def __init__(
        self,
        record: ExecutionRecord,
        program: Runnable,
        state: ExecutionState,
        *,
        input_: Any,
        secrets: Mapping[str, str],
    ) -> None:
        self._record = record
        self._program = program
        self._state = state
        self._input = input_
        self._secrets = secrets
        self._execution: dict[str, Any] | None = None

    def of_node(self, node_id: str, *, secrets: Mapping[str, str] | None = None, **item: Any) -> Scope:
        """For a node's expressions; `item` and `index` for one of a foreach; `secrets` in the place of the real ones."""
        nodes = {name: self._node(name) for name in self._program.references(node_id)}
        return self._scope(nodes, secrets=secrets, **item)

    def of_output(self) -> Scope:
        """For the flow's `output`."""
        return self._scope({name: self._node(name) for name in self._program.output_references()})

    def _scope(
        self, nodes: dict[str, dict[str, Any]], *, secrets: Mapping[str, str] | None = None, **item: Any
    ) -> Scope:
        secrets = self._secrets if secrets is None else secrets
        return Scope(input=self._input, nodes=nodes, execution=self._facts(), secrets=secrets, **item)

    def _node(self, name: str) -> dict[str, Any]:
        node = self._state.nodes[name]
        error = node.error
        return {
            "output": node.output,
            "status": None if node.outcome is None else str(node.outcome),
            "error": None if error is None else error.public(),
        }

    def _facts(self) -> dict[str, Any]:
        if self._execution is None:
            self._execution = execution_facts(self._record)
        return self._execution


def execution_facts(record: ExecutionRecord) -> dict[str, Any]:
    """What expressions see as `execution`."""
    return {
        "id": id_text(record.id),
        "number": record.number,
        "workspace": record.workspace,
        "namespace": record.namespace,
        "flow": record.flow,
        "version": record.flow_version,
        "created_at": to_rfc3339(record.created_at),
        "tags": record.tags,
        "trigger": {"kind": record.trigger_kind, "id": record.trigger_id, "context": record.trigger_context},
    }
