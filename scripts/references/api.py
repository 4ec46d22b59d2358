"""The made parts of `docs/reference/api.md`, from the route table and its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from perdure.api.openapi import openapi_document
from perdure.api.problems import INTERNAL_ERROR
from perdure.api.route import Document, Route
from perdure.api.routes import ROUTES
from perdure.auth.roles import Role
from perdure.model.event import EventType
from scripts.references.regions import Maker, table
from scripts.references.schemas import about, kind_of

_MACHINERY = "malformed_request", "head_too_large", "too_many_connections", "host_refused", INTERNAL_ERROR


@cache
def document() -> dict[str, Any]:
    return openapi_document(ROUTES)


def overview() -> str:
    rows = ((f"[`{route.method} {route.path}`](#{_anchor(route)})", _role(route), route.summary) for route in ROUTES)
    return table(("route", "role", ""), rows)


def routes() -> str:
    tags = dict.fromkeys(route.tag for route in ROUTES)
    parts = []
    for tag in tags:
        parts.append(f"### {tag.capitalize()}")
        for route in ROUTES:
            if route.tag == tag:
                parts += _route(route)
    return "\n\n".join(parts)


def shapes() -> str:
    parts = []
    for name, schema in sorted(document()["components"]["schemas"].items()):
        if "properties" not in schema:
            continue
        parts.append(f"### {name}")
        if schema.get("description"):
            parts.append(" ".join(str(schema["description"]).split()))
        parts.append(_members(schema))
    return "\n\n".join(parts)


def event_types() -> str:
    return ", ".join(f"`{one}`" for one in EventType)


def roles() -> str:
    counts = {role: sum(route.role is role for route in ROUTES) for role in Role}
    return table(("role", "routes of its own"), ((f"`{role}`", str(count)) for role, count in counts.items()))


def _route(route: Route) -> Iterator[str]:
    operation = document()["paths"][route.path][route.method.lower()]
    yield f"#### {route.method} {route.path}"
    yield " ".join([f"{route.summary}.", route.description]).strip()
    yield f"Role: {_role(route)}."
    parameters = [
        (f"`{one['name']}`", one["in"], kind_of(one["schema"]), _parameter(one)) for one in operation["parameters"]
    ]
    if parameters:
        yield table(("parameter", "in", "value", ""), parameters)
    if route.body is not None:
        yield _body(route)
    yield table(("answer", "", "body"), _answers(route))
    codes = [error.code for error in route.all_errors() if error.code not in _MACHINERY]
    yield f"Errors: {', '.join(f'[`{code}`](errors.md)' for code in codes)}."


def _parameter(parameter: dict[str, Any]) -> str:
    text = str(parameter.get("description", ""))
    default = parameter["schema"].get("default")
    return f"{text} Default: `{default}`.".strip() if default not in (None, [], "") else text


def _body(route: Route) -> str:
    word = "" if route.body_required else ", which may be left out"
    if route.body is Document:
        return f"Body: a flow document ({', '.join(route.media_types)}){word}."
    name = route.body.__name__ if isinstance(route.body, type) else route.body.__args__[0].__name__
    return f"Body: [`{name}`](#{name.lower()}) as JSON{word}."


def _answers(route: Route) -> Iterator[tuple[str, str, str]]:
    for outcome in route.outcomes:
        shape = str(getattr(outcome.type, "__name__", ""))
        body = f"[`{shape}`](#{shape.lower()})" if shape in document()["components"]["schemas"] else ""
        headers = f" Headers: {', '.join(f'`{name}`' for name in outcome.headers)}." if outcome.headers else ""
        media_type = "" if outcome.type is None and outcome.media_type == "application/json" else outcome.media_type
        yield str(outcome.status), f"{outcome.description}.{headers}", f"{body} {media_type}".strip()


def _members(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        (f"`{name}`{'' if name in required else ' (optional)'}", kind_of(one), about(one))
        for name, one in schema["properties"].items()
    )
    return table(("member", "value", ""), rows)


def _role(route: Route) -> str:
    return "public" if route.role is None else f"`{route.role}`"


def _anchor(route: Route) -> str:
    text = f"{route.method} {route.path}".lower()
    return "".join(
        character if character.isalnum() or character in "-_" else "-" * (character == " ") for character in text
    )


MAKERS: dict[str, Maker] = {
    "api-overview": overview,
    "api-roles": roles,
    "api-routes": routes,
    "api-shapes": shapes,
    "event-types": event_types,
}
