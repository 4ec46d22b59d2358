"""The OpenAPI document is valid, whole and true: a generator that knows it alone finds no answer that it does not tell of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction, load_all_checks, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from perdure.api.openapi import openapi_document
from perdure.api.routes import ROUTES
from perdure.auth.roles import Role
from perdure.model.event import EventType
from perdure.model.states import ExecutionStatus, NodeStatus
from tests.api.world import API, FLOWS, FOLDER
from tests.served import serving
from tests.store.databases import new_schema_url

DOCUMENT: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(openapi_document(ROUTES)))
CHECKS: list[CheckFunction] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
NEVER_ENDING = {"GET /api/v1/events"}
EXAMPLES = {"sqlite": 8, "postgres": 3}
"""For each operation; what a database refuses is mostly found by one of a few."""

load_all_checks()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS: list[Any] = [found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)]
CASES = [
    (operation, mode)
    for operation in OPERATIONS
    for mode in GenerationMode
    if operation.label not in NEVER_ENDING
    # A request without path, query and body cannot be made wrong.
    and (mode is GenerationMode.POSITIVE or operation.path_parameters or operation.query or operation.body)
]


class Target(NamedTuple):
    url: str
    secret: str
    examples: int


@pytest.fixture(scope="module", params=EXAMPLES)
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server on either store, and an admin's secret.

    In a process of its own: the generator is blocking, and watches over what this one draws at random.
    """
    environ = {"PERDURE_POOL_SIZE": "1", "PERDURE_DRAIN": "0s"}
    if request.param == "postgres":
        environ["PERDURE_STORE"] = new_schema_url()
    with serving(tmp_path_factory.mktemp("home"), "--flows", str(FOLDER), environ=environ) as served:
        yield Target(served.url, asyncio.run(_furnish(served.url)), EXAMPLES[request.param])


async def _furnish(url: str) -> str:
    async with httpx2.AsyncClient(base_url=url + API) as http:
        for flow in FLOWS:
            await http.put(f"/flows/{flow['id']}", json=flow)
        for name in ("quick", "files", "fails"):
            await http.post("/executions", json={"flow": f"api/{name}"}, headers={"prefer": "wait=30"})
        made = await http.post("/tokens", json={"name": "generator", "role": "admin"})
        return str(made.json()["secret"])


REAL: dict[str, list[Any]] = {
    "execution": [1, 2, 3],
    "namespace": ["api"],
    "flow": ["quick", "files"],
    "node": ["double", "write"],
    "version": [1],
}


@pytest.mark.parametrize(("operation", "mode"), CASES, ids=lambda one: getattr(one, "label", None) or one.value)
def test_no_request_gets_an_answer_that_the_document_does_not_tell_of(
    server: Target, operation: Any, mode: GenerationMode
) -> None:
    @settings(max_examples=server.examples, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans(), data=st.data())
    def check(case: Any, real: bool, data: Any) -> None:
        if real:
            for name in case.path_parameters or {}:
                if name in REAL:
                    case.path_parameters[name] = data.draw(st.sampled_from(REAL[name]))
        headers = {"Authorization": f"Bearer {server.secret}", "Prefer": "wait=0"}
        response = case.call(base_url=server.url, headers=headers, timeout=20)
        case.validate_response(response, checks=CHECKS)

    check()


def test_every_route_is_in_the_document_with_its_role() -> None:
    for route in ROUTES:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert operation.get("x-role") == (None if route.role is None else str(route.role))
        assert operation["summary"]
        assert {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"} == set(
            route.parameters
        )


def test_the_generator_reads_every_operation() -> None:
    assert len(OPERATIONS) == len(ROUTES)


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    text = json.dumps(DOCUMENT)
    assert {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]} <= schemas.keys()


def test_every_problem_is_explained_on_the_page() -> None:
    declared = {error.code for route in ROUTES for error in route.all_errors()}
    assert declared <= {problem["code"] for problem in DOCUMENT["x-problems"]}


def test_states_and_event_types_are_spelt_out() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Execution"]["properties"]["status"]["enum"] == [str(status) for status in ExecutionStatus]
    assert schemas["NodeRun"]["properties"]["status"]["enum"] == [str(status) for status in NodeStatus]
    assert schemas["Event"]["properties"]["type"]["enum"] == [str(kind) for kind in EventType]
    assert schemas["CreateToken"]["properties"]["role"]["enum"] == [str(role) for role in Role]


def test_request_bodies_refuse_unknown_fields() -> None:
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if "schema" in content:
                    name = content["schema"]["$ref"].rpartition("/")[2]
                    assert DOCUMENT["components"]["schemas"][name]["additionalProperties"] is False
