"""The OpenAPI 3.1 document, made from the route table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import msgspec

from perdure.api.bodies import BODY_LIMIT
from perdure.api.findings import schema_of
from perdure.api.links import Links, Named
from perdure.api.path import PARAMETERS
from perdure.api.problems import INTERNAL_ERROR, MEDIA_TYPE
from perdure.api.route import Document, Outcome, Route
from perdure.auth.roles import Role
from perdure.errors import MethodNotAllowed, NotFound, PerdureError
from perdure.model.definition import RunIf
from perdure.model.event import EventType
from perdure.model.operation import Action, ItemOutcome, OperationStatus
from perdure.model.states import ExecutionKind, ExecutionStatus, NodeStatus, PendingReason
from perdure.wire.problem import ProblemDocument

Schema = dict[str, Any]

_REF = "#/components/schemas/{name}"
_ENUMS: dict[str, type[StrEnum]] = {
    enum.__name__: enum
    for enum in (
        ExecutionKind, ExecutionStatus, NodeStatus, PendingReason, EventType, RunIf, Role, Action, OperationStatus,
        ItemOutcome,
    )
}  # fmt: skip
_HEADERS: dict[str, tuple[str, str]] = {
    "Accept": ("string", "`text/event-stream` asks for a stream"),
    "Idempotency-Key": ("string", "The same key and request within 24 hours answer with the first one's execution"),
    "If-Match": ("string", "An ETag that must be the current one"),
    "If-None-Match": ("string", "ETags that must not be the current one; `*` means that there must be none"),
    "If-Range": ("string", "An ETag under which Range holds"),
    "Last-Event-ID": ("string", "The id of the last event that was seen"),
    "Prefer": ("string", "`wait=N`: answer at the end, or after N seconds"),
    "Range": ("string", "`bytes=start-end`"),
    "Content-Disposition": ("string", "Always an attachment"),
    "Content-Range": ("string", "Which bytes these are"),
    "ETag": ("string", "Names this version of the resource"),
    "Idempotent-Replayed": ("string", "`true`: an earlier request with this key answers"),
    "Link": ("string", "`rel=next`: the following page"),
    "Location": ("string", "Where the resource is"),
    "Preference-Applied": ("string", "The preference that was honoured"),
}


def openapi_document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document. Every schema in it is that of the type that reads or writes the value."""
    routes = list(routes)
    schemas = _components(routes)
    named = _named(routes)
    links = Links(named)
    paths: dict[str, dict[str, Any]] = {}
    for one in named:
        operation = {"operationId": one.operation, **_operation(one, links)}
        paths.setdefault(one.route.path, {})[one.route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "perdure",
            "version": version("perdure"),
            "summary": "Durable workflow executions behind one API",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": (
                "Times are RFC 3339 in UTC with microseconds; absent values are null. Errors are problem documents "
                "(RFC 9457) with a stable `code`; `errors` lists everything that is wrong at once. Request bodies have at "
                f"most {BODY_LIMIT >> 20} MiB (gzip is understood). Unknown fields and parameters are refused."
            ),
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "security": [{"bearer": []}],
        "paths": paths,
        "x-problems": _problems(routes),
        "components": {
            "schemas": schemas,
            "links": links.components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `perdure token create`. Without any token made, a server on loopback is open.",
                }
            },
        },
    }


def _named(routes: list[Route]) -> list[Named]:
    names = Counter(route.name for route in routes)
    found = []
    for route in routes:
        # A flow by its bare name has the same handler as the one by its whole address.
        is_short = names[route.name] > 1 and "namespace" not in route.parameters
        found.append(Named(f"{route.name}_in_default" if is_short else route.name, route))
    return found


def _problems(routes: list[Route]) -> list[dict[str, Any]]:
    """Every code that a problem can have, for the reference page; a problem's `type` leads to its entry there."""
    errors = {error for route in routes for error in route.all_errors()} | {NotFound, MethodNotAllowed}
    found = [{"code": error.code, "status": error.status, "title": error.title} for error in errors]
    found.append({"code": INTERNAL_ERROR, "status": 500, "title": "Internal error"})
    return sorted(found, key=lambda problem: (problem["status"], problem["code"]))


def openapi_bytes(routes: Iterable[Route]) -> bytes:
    return msgspec.json.encode(openapi_document(routes))


def _components(routes: list[Route]) -> dict[str, Schema]:
    types: list[Any] = [ProblemDocument]
    for route in routes:
        types += [outcome.type for outcome in route.outcomes if outcome.type is not None]
        if route.body is not None and route.body is not Document:
            types.append(route.body)
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    return {name: _with_enums(schema) for name, schema in components.items()}


def _with_enums(schema: Any) -> Any:
    """The schema with the values of our enums where a title names one."""
    if isinstance(schema, list):
        return [_with_enums(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _with_enums(value) for key, value in schema.items()}
    enum = _ENUMS.get(str(schema.get("title")))
    if enum is not None and schema.get("type") == "string":
        found["enum"] = [str(value) for value in enum]
    return found


def _operation(named: Named, links: Links) -> dict[str, Any]:
    route = named.route
    operation: dict[str, Any] = {
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(named, links),
    }
    if route.description:
        operation["description"] = route.description
    if route.role is None:
        operation["security"] = []
    else:
        operation["x-role"] = str(route.role)
    if route.body is not None:
        content_schema = {} if route.body is Document else {"schema": _ref(route.body)}
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {media_type: dict(content_schema) for media_type in route.media_types},
        }
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PARAMETERS[name].description,
            "schema": PARAMETERS[name].schema,
        }
        for name in route.parameters
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    schema = schema_of(route.query)
    definitions = schema["$defs"]
    struct = definitions[schema["$ref"].rpartition("/")[2]]
    found = []
    for name, field in struct["properties"].items():
        parameter = {"name": name, "in": "query", "required": name in struct["required"]}
        plain = _with_enums(_without_null(_inlined(field, definitions)))
        if description := plain.pop("description", None):
            parameter["description"] = description
        if plain.get("type") == "array":
            parameter |= {"style": "form", "explode": plain.pop("x-separate", False)}
        found.append(parameter | {"schema": plain})
    return found


def _inlined(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _inlined({**definitions[name], **rest}, definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _without_null(schema: Schema) -> Schema:
    """A parameter is left out rather than null."""
    alternatives = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and not (key == "default" and value is None)}
    if not alternatives:
        return rest
    return {**alternatives[0], **rest} if len(alternatives) == 1 else {"anyOf": alternatives, **rest}


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    found = []
    for name in route.request_headers:
        kind, description = _HEADERS[name]
        found.append({"name": name, "in": "header", "required": False, "description": description,
                      "schema": {"type": kind}})  # fmt: skip
    return found


def _responses(named: Named, links: Links) -> dict[str, Any]:
    route = named.route
    responses: dict[str, Any] = {}
    for outcome in route.outcomes:
        response = _add_outcome(responses, outcome)
        if found := links.of(named, outcome):
            response.setdefault("links", {}).update(found)
    by_status: dict[int, list[type[PerdureError]]] = {}
    for error in route.all_errors():
        by_status.setdefault(error.status, []).append(error)
    for status, errors in sorted(by_status.items()):
        codes = ", ".join(f"`{error.code}`" for error in errors)
        response = responses.setdefault(str(status), {"description": codes, "content": {}})
        response["content"][MEDIA_TYPE.decode()] = {"schema": _ref(ProblemDocument)}
    responses["500"] = {
        "description": f"`{INTERNAL_ERROR}`",
        "content": {MEDIA_TYPE.decode(): {"schema": _ref(ProblemDocument)}},
    }
    return responses


def _add_outcome(responses: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    response: dict[str, Any] = responses.setdefault(str(outcome.status), {"description": outcome.description})
    if outcome.type is not None:
        content = response.setdefault("content", {}).setdefault(outcome.media_type, {})
        schema = _ref(outcome.type)
        content["schema"] = {"anyOf": [content["schema"], schema]} if "schema" in content else schema
    elif outcome.media_type != "application/json":
        response.setdefault("content", {})[outcome.media_type] = {}
    if outcome.headers:
        headers = response.setdefault("headers", {})
        for name in outcome.headers:
            kind, description = _HEADERS[name]
            headers[name] = {"description": description, "schema": {"type": kind}}
    return response


def _ref(type: Any) -> Schema:
    (schema,), _ = msgspec.json.schema_components([type], ref_template=_REF)
    return dict(schema)
