"""Every route is tested: each way in which it succeeds, each error that it declares, each role against it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import jsonschema_rs
import msgspec
import pytest

from perdure.api.openapi import openapi_document
from perdure.api.route import Route
from perdure.api.routes import ROUTES
from perdure.auth.roles import Role
from perdure.errors import Draining, ExtraMissing, TooManyStreams
from tests.api import operation_scenarios, replay_scenarios, wait_scenarios
from tests.api.conftest import Opened
from tests.api.scenarios import NOBODY, SCENARIOS, Scenario
from tests.api.world import World

EXTENDED_BY = (replay_scenarios, wait_scenarios, operation_scenarios)
"""They add to SCENARIOS."""
BY_NAME = {route.name: route for route in ROUTES}
DOCUMENT = msgspec.json.decode(msgspec.json.encode(openapi_document(ROUTES)))
ELSEWHERE = {
    # (route, status) or an error: the test that covers it on a server of its own
    ("ready", 503): "test_server.py: a draining server is not ready",
    ("get_socket", 101): "test_live.py: all of it",
    Draining: "test_server.py: a draining server refuses starts",
    ExtraMissing: "test_parquet.py: a server without pyarrow",
    TooManyStreams: "test_streams.py: as many streams as the server allows",
}


@pytest.fixture(scope="module")
async def closed_world(open_world: Opened) -> AsyncIterator[World]:
    """A server with a token; `http` carries an admin's."""
    async with open_world() as world:
        made = await world.ask("POST", "/tokens", {"name": "admin", "role": "admin"})
        world.http.headers["authorization"] = f"Bearer {made.json()['secret']}"
        yield world


def test_every_outcome_and_every_declared_error_has_a_scenario() -> None:
    covered = {(one.route, one.status, one.code) for one in SCENARIOS}
    declared = {
        (route.name, outcome.status, None)
        for route in ROUTES
        for outcome in route.outcomes
        if (route.name, outcome.status) not in ELSEWHERE
    } | {(route.name, error.status, error.code) for route in ROUTES for error in route.errors if error not in ELSEWHERE}
    assert not declared - covered


def test_no_scenario_tells_of_what_its_route_does_not_declare() -> None:
    for one in SCENARIOS:
        route = BY_NAME[one.route]
        if one.code is None:
            assert one.status in {outcome.status for outcome in route.outcomes}, one
        else:
            assert (one.status, one.code) in {(error.status, error.code) for error in route.all_errors()}, one


def test_names_are_unique() -> None:
    shared = {"get_flow", "put_flow", "delete_flow"}
    names = [(route.name, route.path) for route in ROUTES]
    assert len(set(names)) == len(names)
    assert all(sum(name == other for other, _ in names) == 1 for name, _ in names if name not in shared)


@pytest.mark.parametrize("one", SCENARIOS, ids=lambda one: f"{one.route}-{one.status}-{one.code}")
async def test_a_route_answers_as_it_declares(closed_world: World, one: Scenario) -> None:
    response = await one.run(closed_world)
    assert response.status_code == one.status, response.text
    if one.code is not None:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["code"] == one.code
    check_schema(BY_NAME[one.route], response)


def check_schema(route: Route, response: object) -> None:
    """The body is what the OpenAPI document says."""
    answers = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
    declared = answers[str(response.status_code)]  # type: ignore[attr-defined]
    kind = response.headers.get("content-type", "").partition(";")[0]  # type: ignore[attr-defined]
    contents = declared.get("content", {})
    if not contents or kind == "text/event-stream" or "*/*" in contents:
        return
    assert kind in contents, f"{kind} is not declared"
    schema = contents[kind].get("schema")
    if schema is not None:
        whole = {**schema, "components": DOCUMENT["components"]}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(response.json())  # type: ignore[attr-defined]


PLACES = {
    "{execution}": NOBODY, "{artifact}": NOBODY, "{operation}": NOBODY, "{token}": NOBODY, "{namespace}": "api", "{flow}": "nowhere",
    "{node}": "a", "{ordinal}": "0", "{version}": "1",
}  # fmt: skip


def path_of(route: Route) -> str:
    path = route.path
    for place, value in PLACES.items():
        path = path.replace(place, value)
    return path


@pytest.fixture(scope="module")
async def tokens(closed_world: World) -> dict[Role, str]:
    found = {}
    for role in Role:
        made = await closed_world.ask("POST", "/tokens", {"name": f"matrix {role}", "role": str(role)})
        found[role] = made.json()["secret"]
    return found


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_a_role_reaches_exactly_the_routes_that_it_covers(
    closed_world: World, tokens: dict[Role, str], route: Route
) -> None:
    url = closed_world.server.url + path_of(route)
    body = b"{}" if route.body is not None else None
    headers = (
        {"content-type": "application/json", "accept": "application/json"} if body else {"accept": "application/json"}
    )
    for role in Role:
        sent = {**headers, "authorization": f"Bearer {tokens[role]}"}
        response = await closed_world.http.request(route.method, url, headers=sent, content=body)
        if route.role is None or role.covers(route.role):
            assert response.status_code not in {401, 403}, (role, response.text)
        else:
            assert (response.status_code, response.json()["code"]) == (403, "permission_denied"), role


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_without_a_good_token_nothing_but_the_public_routes_answers(closed_world: World, route: Route) -> None:
    url = closed_world.server.url + path_of(route)
    for value in ("", "Bearer", "Bearer x", "Basic YTpi", "Bearer perdure_" + "a" * 43):
        response = await closed_world.http.request(route.method, url, headers={"authorization": value})
        if route.role is None:
            assert response.status_code < 400
        else:
            assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
            assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", [route for route in ROUTES if route.role is not None], ids=lambda route: route.name)
async def test_every_route_refuses_what_it_does_not_know(closed_world: World, route: Route) -> None:
    response = await closed_world.http.request(
        route.method, f"{closed_world.server.url}{path_of(route)}?surely_unknown=1", headers={"accept": "*/*"}
    )
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["parameter"] == "surely_unknown"


@pytest.mark.parametrize("route", [route for route in ROUTES if route.changes_state], ids=lambda route: route.name)
async def test_every_route_that_changes_something_refuses_other_sites(closed_world: World, route: Route) -> None:
    for origin in ("https://evil.example", "null", f"{closed_world.server.url}.evil.example", "http://127.0.0.1:1"):
        response = await closed_world.http.request(
            route.method, closed_world.server.url + path_of(route), headers={"origin": origin}
        )
        assert (response.status_code, response.json()["code"]) == (403, "origin_refused")


def test_no_route_changes_something_by_get() -> None:
    operators = [route for route in ROUTES if route.role in {Role.OPERATOR, Role.EDITOR}]
    assert operators
    assert all(route.changes_state for route in operators)


def test_only_what_must_be_is_public() -> None:
    public = {route.path for route in ROUTES if route.role is None}
    assert public == {"/health/live", "/health/ready", "/openapi.json", "/docs", "/"}
