"""Flows: listed, shown, put, deleted, checked; their versions, graph and input schema."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.cursors import cut_page, decode_cursor
from perdure.api.etags import is_listed, not_modified
from perdure.api.graphs import edges_of, graph_nodes
from perdure.api.resources.lookup import next_link
from perdure.api.route import API, JSON, YAML, Document, NoQuery, Outcome, Route
from perdure.api.shapes import flow, flow_fields, flow_version, flow_version_fields, raw_json
from perdure.auth.roles import Role
from perdure.engine.flow_changes import FlowText
from perdure.errors import (
    Draining,
    FlowInUse,
    FlowManaged,
    FlowNotFound,
    FlowVersionNotFound,
    InvalidCursor,
    InvalidFlow,
    PreconditionFailed,
)
from perdure.model.definition import DEFAULT_NAMESPACE
from perdure.store.records import FlowRecord, FlowVersionRecord
from perdure.wire.flows import (
    MOST_FLOWS,
    FlowBatch,
    FlowChange,
    FlowChangeList,
    FlowDetail,
    FlowList,
    FlowVersionDetail,
    FlowVersionList,
    Validation,
)
from perdure.wire.nodes import FlowGraph
from perdure.wire.scalars import Namespace

_LIST = "flows"


class FlowsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    namespace: Namespace | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


class VersionsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


class OfVersion(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


async def list_flows(call: Call[FlowsQuery, None]) -> Answer:
    """By id."""
    query = call.query
    after = None if query.cursor is None else decode_cursor(query.cursor, _LIST, call.workspace, str)
    records = await call.services.engine.store.flows.list(
        call.workspace, namespace=query.namespace, after=after, limit=query.limit + 1
    )
    records, cursor = cut_page(records, query.limit, _LIST, call.workspace, lambda record: record.id)
    return Answer(
        body=FlowList(data=[flow(record) for record in records], next=cursor), headers=next_link(call, cursor)
    )


async def get_flow(call: Call[NoQuery, None]) -> Answer:
    """The flow with its latest version's definition; `ETag` names that version."""
    record, version = await _latest(call, _address(call))
    return not_modified(call, _etag(version)) or _detail(record, version)


async def put_flow(call: Call[NoQuery, Document]) -> Answer:
    """Store a definition: 201 for a new flow, 200 for a new version or the same one again."""
    address = _address(call)
    services = call.services
    if services.engine.draining:
        raise Draining("the server is shutting down; put it elsewhere or try again")
    async with call.services.flow_writing:
        before = await services.engine.store.flows.version(call.workspace, address)
        _check_preconditions(call, before)
        await services.engine.catalog.put(
            call.workspace, call.body.data, media_type=call.body.media_type, expected_id=address
        )
        record, version = await _latest(call, address)
    answer = _detail(record, version)
    if before is None:
        answer.status = 201
        answer.headers.append((b"location", f"{API}/flows/{address}".encode()))
    return answer


async def put_flows(call: Call[NoQuery, FlowBatch]) -> Answer:
    """All of them or none."""
    services = call.services
    if services.engine.draining:
        raise Draining("the server is shutting down; put them elsewhere or try again")
    texts = [
        FlowText(one.text.encode(), one.media_type, f"/documents/{index}")
        for index, one in enumerate(call.body.documents)
    ]
    async with services.flow_writing:
        changes = await services.engine.catalog.put_all(call.workspace, texts, dry_run=call.body.dry_run)
    data = [
        FlowChange(flow=one.flow, version=one.version, change=one.change, warnings=list(one.warnings))
        for one in changes
    ]
    return Answer(body=FlowChangeList(data=data))


async def delete_flow(call: Call[NoQuery, None]) -> Answer:
    """Take the flow away. Its versions stay for the executions that ran them."""
    address = _address(call)
    async with call.services.flow_writing:
        if b"if-match" in call.headers:
            before = await call.services.engine.store.flows.version(call.workspace, address)
            _check_preconditions(call, before)
        await call.services.engine.catalog.delete(call.workspace, address)
    return Answer(status=204)


async def list_flow_versions(call: Call[VersionsQuery, None]) -> Answer:
    """Newest first."""
    address = _address(call)
    query = call.query
    kind = f"versions-{address}"
    before = None if query.cursor is None else decode_cursor(query.cursor, kind, call.workspace, int)
    records = await call.services.engine.store.flows.versions(
        call.workspace, address, before=before, limit=query.limit + 1
    )
    if not records and before is None:
        raise _not_found(address)
    records, cursor = cut_page(records, query.limit, kind, call.workspace, lambda record: record.number)
    data = [flow_version(record) for record in records]
    return Answer(body=FlowVersionList(data=data, next=cursor), headers=next_link(call, cursor))


async def get_flow_version(call: Call[NoQuery, None]) -> Answer:
    """One version, with its definition and the text as it was given; it never changes."""
    version = await _version(call, _address(call), call.path["version"])
    detail = FlowVersionDetail(
        **flow_version_fields(version), definition=raw_json(version.document), source_text=version.source_text
    )
    return Answer(body=detail, headers=[(b"etag", _etag(version).encode())])


async def get_flow_graph(call: Call[OfVersion, None]) -> Answer:
    """Nodes and edges of the latest version, or of the one that is asked for."""
    address = _address(call)
    number, program = await call.services.engine.catalog.program(call.workspace, address, call.query.version)
    graph = FlowGraph(flow=address, flow_version=number, nodes=graph_nodes(program.flow), edges=edges_of(program.flow))
    return Answer(body=graph)


async def get_flow_schema(call: Call[OfVersion, None]) -> Answer:
    """The JSON Schema of the flow's input."""
    _, program = await call.services.engine.catalog.program(call.workspace, _address(call), call.query.version)
    schema = program.flow.input_schema or {"type": "object"}
    return Answer(body=schema, media_type=b"application/schema+json")


async def validate_flow(call: Call[NoQuery, Document]) -> Answer:
    """Everything that is wrong with a document, with line and column; nothing is stored and nothing runs."""
    catalog = call.services.engine.catalog
    checked = await asyncio.to_thread(catalog.check, call.body.data, media_type=call.body.media_type)
    program = checked.program
    return Answer(
        body=Validation(
            valid=program is not None,
            errors=list(checked.problems),
            warnings=list(checked.warnings),
            flow=None if program is None else program.flow.id,
            content_hash=None if program is None else program.content_hash,
        )
    )


def _address(call: Call[Any, Any]) -> str:
    return f"{call.path.get('namespace', DEFAULT_NAMESPACE)}/{call.path['flow']}"


def _not_found(address: str) -> FlowNotFound:
    return FlowNotFound(f"there is no flow {address}", flow=address)


async def _latest(call: Call[Any, Any], address: str) -> tuple[FlowRecord, FlowVersionRecord]:
    flows = call.services.engine.store.flows
    record = await flows.get(call.workspace, address)
    version = None if record is None else await flows.version(call.workspace, address, record.latest)
    if record is None or version is None:
        raise _not_found(address)
    return record, version


async def _version(call: Call[Any, Any], address: str, number: int) -> FlowVersionRecord:
    flows = call.services.engine.store.flows
    version = await flows.version(call.workspace, address, number)
    if version is not None:
        return version
    if await flows.get(call.workspace, address) is None:
        raise _not_found(address)
    raise FlowVersionNotFound(f"flow {address} has no version {number}", flow=address, version=number)


def _detail(record: FlowRecord, version: FlowVersionRecord) -> Answer:
    definition = msgspec.json.decode(version.document)
    detail = FlowDetail(
        **flow_fields(record),
        content_hash=version.content_hash,
        definition=raw_json(version.document),
        input_schema=definition.get("input") or {"type": "object"},
    )
    return Answer(body=detail, headers=[(b"etag", _etag(version).encode())])


def _etag(version: FlowVersionRecord) -> str:
    return f'"{version.number}-{version.content_hash[:16]}"'


def _check_preconditions(call: Call[Any, Any], version: FlowVersionRecord | None) -> None:
    """Raises PreconditionFailed."""
    if b"if-match" in call.headers and (version is None or not is_listed(call, b"if-match", _etag(version))):
        now = "there is no such flow" if version is None else f"its ETag is {_etag(version)}"
        raise PreconditionFailed(f"If-Match does not hold: {now}")
    if version is not None and is_listed(call, b"if-none-match", _etag(version)):
        raise PreconditionFailed("If-None-Match does not hold: the flow is there already")


def _routes_of_one(path: str, suffix: str) -> tuple[Route, ...]:
    """The routes of one flow by its whole address, or by its bare name."""
    return (
        Route(
            method="GET", path=path, summary=f"One flow{suffix}", tag="flows", handler=get_flow, role=Role.VIEWER,
            request_headers=("If-None-Match",),
            outcomes=(Outcome(type=FlowDetail, headers=("ETag",)), Outcome(status=304, description="Not modified")),
            errors=(FlowNotFound,),
        ),
        Route(
            method="PUT", path=path, summary=f"Put a flow{suffix}", tag="flows", handler=put_flow, role=Role.EDITOR,
            description="The document's id must be the path's. Old content put again reuses its version.",
            body=Document, media_types=(YAML, JSON), request_headers=("If-Match", "If-None-Match"),
            outcomes=(
                Outcome(type=FlowDetail, description="There was one before", headers=("ETag",)),
                Outcome(status=201, type=FlowDetail, description="New", headers=("ETag", "Location")),
            ),
            errors=(InvalidFlow, FlowManaged, PreconditionFailed, Draining),
        ),
        Route(
            method="DELETE", path=path, summary=f"Delete a flow{suffix}", tag="flows", handler=delete_flow,
            role=Role.EDITOR, request_headers=("If-Match",),
            outcomes=(Outcome(status=204, description="Deleted"),),
            errors=(FlowNotFound, FlowManaged, FlowInUse, PreconditionFailed),
        ),
    )  # fmt: skip


_ONE = f"{API}/flows/{{namespace}}/{{flow}}"

ROUTES = (
    Route(
        method="GET", path=f"{API}/flows", summary="List flows", tag="flows", handler=list_flows, role=Role.VIEWER,
        query=FlowsQuery, outcomes=(Outcome(type=FlowList, headers=("Link",)),), errors=(InvalidCursor,),
    ),
    Route(
        method="POST", path=f"{API}/flows/validate", summary="Check a flow document", tag="flows",
        description="Answers 200 with what is wrong, line by line; stores and runs nothing.",
        handler=validate_flow, role=Role.EDITOR, body=Document, media_types=(YAML, JSON),
        outcomes=(Outcome(type=Validation),),
    ),
    Route(
        method="POST", path=f"{API}/flows/batch", summary=f"Put up to {MOST_FLOWS:,} flows in one transaction", tag="flows",
        description=(
            "Each definition becomes its flow's latest version; old content put again reuses its version. Where any is "
            "refused none is put, and `errors` tells all that is wrong with all of them: `pointer` names the document, "
            "`line` and `column` the place in its text. With `dry_run` nothing is put at all."
        ),
        handler=put_flows, role=Role.EDITOR, body=FlowBatch,
        outcomes=(Outcome(type=FlowChangeList, description="What each has changed"),),
        errors=(InvalidFlow, FlowManaged, Draining),
    ),
    *_routes_of_one(_ONE, ""),
    *_routes_of_one(f"{API}/flows/{{flow}}", " of the namespace `default`"),
    Route(
        method="GET", path=f"{_ONE}/versions", summary="Versions of a flow", tag="flows", handler=list_flow_versions,
        role=Role.VIEWER, query=VersionsQuery, outcomes=(Outcome(type=FlowVersionList, headers=("Link",)),),
        errors=(FlowNotFound, InvalidCursor),
    ),
    Route(
        method="GET", path=f"{_ONE}/versions/{{version}}", summary="One version of a flow", tag="flows",
        handler=get_flow_version, role=Role.VIEWER, outcomes=(Outcome(type=FlowVersionDetail, headers=("ETag",)),),
        errors=(FlowNotFound, FlowVersionNotFound),
    ),
    Route(
        method="GET", path=f"{_ONE}/dag", summary="The flow's graph", tag="flows", handler=get_flow_graph,
        role=Role.VIEWER, query=OfVersion, outcomes=(Outcome(type=FlowGraph),),
        errors=(FlowNotFound, FlowVersionNotFound),
    ),
    Route(
        method="GET", path=f"{_ONE}/schema", summary="JSON Schema of the flow's input", tag="flows",
        handler=get_flow_schema, role=Role.VIEWER, query=OfVersion,
        outcomes=(Outcome(type=dict[str, Any], media_type="application/schema+json"),),
        errors=(FlowNotFound, FlowVersionNotFound),
    ),
)  # fmt: skip
