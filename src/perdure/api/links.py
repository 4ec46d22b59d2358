"""Links of the OpenAPI document: which operations go on from an answer, found by the types in the route table.

A link says where in an answer another operation's path parameters stand (OpenAPI 3.1, 4.8.20).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from perdure.api.route import Outcome, Route
from perdure.wire.artifacts import ArtifactList
from perdure.wire.executions import Execution, ExecutionBatch, ExecutionList
from perdure.wire.flows import FlowDetail, FlowList, FlowVersionDetail, FlowVersionList
from perdure.wire.nodes import NodeRun, NodeRunList
from perdure.wire.operations import Operation, OperationItemList, OperationList
from perdure.wire.replays import ReplayPlan
from perdure.wire.system import CreatedToken, TokenList
from perdure.wire.waits import Answer, Inbox, Signalled, WaitList

Link = dict[str, Any]

OFFERS: Mapping[Any, Mapping[str, str]] = {
    Execution: {"execution": "/id"},
    ExecutionBatch: {"execution": "/data/0/id"},
    ExecutionList: {"execution": "/data/0/id"},
    ReplayPlan: {"execution": "/execution"},
    Answer: {"execution": "/execution"},
    Signalled: {"execution": "/execution"},
    Inbox: {"execution": "/data/0/execution"},
    WaitList: {"execution": "/data/0/execution"},
    NodeRun: {"node": "/node", "ordinal": "/ordinal"},
    NodeRunList: {"node": "/data/0/node", "ordinal": "/data/0/ordinal"},
    ArtifactList: {"artifact": "/data/0/id"},
    FlowDetail: {"namespace": "/namespace", "flow": "/name", "version": "/version"},
    FlowList: {"namespace": "/data/0/namespace", "flow": "/data/0/name", "version": "/data/0/version"},
    FlowVersionDetail: {"version": "/number"},
    FlowVersionList: {"version": "/data/0/number"},
    Operation: {"operation": "/id"},
    OperationList: {"operation": "/data/0/id"},
    OperationItemList: {"execution": "/data/0/execution"},
    CreatedToken: {"token": "/id"},
    TokenList: {"token": "/data/0/id"},
}
"""Where an answer has the values of path parameters, by its type; of a list, those of its first entry."""

_BODIES: Mapping[tuple[Any, str], Mapping[str, str]] = {
    (FlowDetail, "start_execution"): {"flow": "/id"},
    (FlowList, "start_execution"): {"flow": "/data/0/id"},
    (Inbox, "respond_execution"): {"wait": "/data/0/id"},
    (WaitList, "respond_execution"): {"wait": "/data/0/id"},
}
"""Members of a request's body that an answer tells, by the answer's type and the operation."""


class Named(NamedTuple):
    """A route under the operation id that the document gives it."""

    operation: str
    route: Route


class Links:
    """The links of one document: answers refer to them by name, and all of them stand in its components."""

    def __init__(self, named: Sequence[Named]) -> None:
        self._named = named
        self.components: dict[str, Link] = {}

    def of(self, one: Named, outcome: Outcome) -> dict[str, Link]:
        """Name → reference, for everything that goes on from this outcome: another operation, or the next page."""
        links = {}
        for target in self._named:
            if (link := _link(one.route, outcome, target)) is not None:
                links[target.operation] = self._reference(f"{outcome.type.__name__}-{target.operation}", link)
        if (name := _paging(one.route, outcome)) is not None:
            parameters = {**_own(one.route), name: _in_body("/next")}
            page = {"operationId": one.operation, "parameters": parameters, "description": "The next page"}
            links["next"] = self._reference(f"{one.operation}-next", page)
        return links

    def _reference(self, name: str, link: Link) -> Link:
        assert self.components.setdefault(name, link) == link, name
        return {"$ref": f"#/components/links/{name}"}


def _link(route: Route, outcome: Outcome, target: Named) -> Link | None:
    offered = OFFERS.get(outcome.type, {})
    body = _BODIES.get((outcome.type, target.operation), {})
    names = target.route.parameters
    known = {**_own(route), **{name: _in_body(pointer) for name, pointer in offered.items()}}
    if not (body or set(names) & offered.keys()) or not known.keys() >= set(names):
        return None
    if target.route is route and not route.changes_state:
        return None
    if "namespace" in offered and names and "namespace" not in names:
        return None  # what has a bare name is in the default namespace, and this may be in another one
    link: Link = {"operationId": target.operation}
    if names:
        link["parameters"] = {name: known[name] for name in names}
    if body:
        link["requestBody"] = {member: _in_body(pointer) for member, pointer in body.items()}
    return link


def _own(route: Route) -> dict[str, str]:
    return {name: f"$request.path.{name}" for name in route.parameters}


def _in_body(pointer: str) -> str:
    return f"$response.body#{pointer}"


def _paging(route: Route, outcome: Outcome) -> str | None:
    """The query parameter that takes an answer's `next`."""
    if "next" not in getattr(outcome.type, "__struct_fields__", ()):
        return None
    return next((name for name in ("cursor", "after") if name in route.query.__struct_fields__), None)
