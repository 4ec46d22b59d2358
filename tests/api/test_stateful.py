"""Whole stories that a generator makes from the document and its links: starts, answers, replays, deletions, in any order.

Each answer is one that the document tells of; what was deleted is gone; an end that was told of stays as it was (T), and
the events of everything that a story touched are numbered without a gap (S).
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx2
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from schemathesis import Case
from schemathesis.checks import CheckContext, CheckFunction
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ensure_resource_availability, use_after_free

from perdure.api.openapi import openapi_bytes
from perdure.api.routes import ROUTES
from perdure.model.states import TERMINAL
from tests.api.test_openapi import CHECKS
from tests.api.world import API, FAILS, FILES, QUICK, SLOW
from tests.served import serving
from tests.store.databases import new_schema_url

STORIES = {"sqlite": 30, "postgres": 12}
"""How many, on each store; PERDURE_STORIES says another number, and `make chaos` goes on with new ones."""
STEPS = 12
DOCUMENT: dict[str, Any] = msgspec.json.decode(openapi_bytes(ROUTES))
ROUND = settings(
    max_examples=10, stateful_step_count=STEPS, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)  # fmt: skip
NEVER_ENDING = ["get_feed", "get_socket"]


def gone_is_gone(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """What was deleted is not there any more. A flow's versions are no part of it: they stay for the executions that ran them."""
    return None if "/versions" in case.operation.path else use_after_free(ctx, response, case)


STATEFUL: list[CheckFunction] = [*CHECKS, gone_is_gone, ensure_resource_availability]

APPROVE = {"id": "story/approve", "nodes": {"go": {"approval": {"message": "Go?"}}}}
ASK = {"id": "story/ask", "nodes": {"how": {"ask": {"message": "?", "form": {"n": {"type": "integer", "default": 1}}}}}}
LISTEN = {"id": "story/listen", "nodes": {"paid": {"signal": "paid"}, "over": {"transform": "${nodes.paid.output}"}}}
CHILD = {"id": "story/child", "nodes": {"a": {"flow": "story/approve"}, "b": {"flow": "story/fails"}}}
NAMED = [{**flow, "id": flow["id"].replace("api/", "story/")} for flow in (QUICK, SLOW, FILES, FAILS)]
FLOWS: list[dict[str, Any]] = [APPROVE, ASK, LISTEN, CHILD, *NAMED]

NODES = [name for flow in FLOWS for name in flow["nodes"]]


class Target(NamedTuple):
    url: str
    secret: str
    token: str


def furnish(folder: Path) -> Path:
    """The flows, in a folder: nobody can change or delete them through the API."""
    folder.mkdir()
    for flow in FLOWS:
        (folder / f"{flow['id'].replace('/', '-')}.yaml").write_text(json.dumps(flow))
    return folder


@contextmanager
def stage(folder: Path, *, store: str | None = None) -> Iterator[Target]:
    """A server that has the flows, on a store of its own unless another is named."""
    environ = {"PERDURE_POOL_SIZE": "1", "PERDURE_DRAIN": "0s"} | ({} if store is None else {"PERDURE_STORE": store})
    with (
        serving(folder, "--flows", str(furnish(folder / "stories")), environ=environ) as served,
        httpx2.Client(base_url=served.url + API) as http,
    ):
        http.put(f"/flows/{QUICK['id']}", json=QUICK)
        made = http.post("/tokens", json={"name": "teller", "role": "admin"}).json()
        yield Target(served.url, made["secret"], made["id"])


def steered(case: Case, token: str, seen: list[str]) -> None:
    """Where chance would hardly get anywhere: starts name flows that there are, answers fit, most places are ones that
    this story has seen, and our own token lives."""
    name = case.operation.definition.raw["operationId"]
    body: Any = case.body
    place: dict[str, Any] = case.path_parameters or {}
    chance = zlib.crc32(repr((body, place)).encode())
    if "execution" in place and place["execution"] not in seen and chance % 8:
        place["execution"] = seen[chance // 8 % len(seen)]
    if "node" in place and chance % 4:
        place["node"] = NODES[chance // 4 % len(NODES)]
    if name == "start_execution" and isinstance(body, dict) and chance % 8:
        case.body = {"flow": FLOWS[chance // 8 % len(FLOWS)]["id"]}
    elif name == "start_executions" and isinstance(body, dict) and chance % 4:
        case.body = {"executions": [{"flow": flow["id"]} for flow in FLOWS[chance // 4 % len(FLOWS) :]]}
    elif name == "respond_execution" and isinstance(body, dict) and chance % 4:
        answers: list[dict[str, Any]] = [{"approved": True}, {"approved": False}, {"answer": {"n": 2}}]
        case.body = {**answers[chance // 4 % 3], **({"wait": body["wait"]} if "wait" in body else {})}
    elif name == "signal_execution" and isinstance(body, dict) and chance % 4:
        case.body = {**body, "name": "paid"}
    elif name in {"replay_execution", "retry_execution"} and isinstance(body, dict) and chance % 2:
        case.body = {"dry_run": chance % 4 == 1}
    elif name == "revoke_token" and place["token"] == token:
        place["token"] = str(uuid4())


class Teller:
    """Tells stories in rounds, and notes what is wrong in them: the same requests get other ids each time, so that
    Hypothesis can neither replay nor shrink what it drew."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.told = 0
        self.outcomes: Counter[tuple[str, int]] = Counter()
        self.findings: list[str] = []

    def tell(self, stories: int, *, first_seed: int = 0) -> None:
        for number in count(first_seed):
            if self.told >= stories or self.findings:
                return
            with suppress(Flaky):
                seed(number)(machine(self)).run(settings=ROUND)

    @contextmanager
    def noting(self, story: list[str]) -> Iterator[None]:
        try:
            yield
        except (AssertionError, FailureGroup) as error:
            failures = error.exceptions if isinstance(error, FailureGroup) else [error]
            self.findings.append("\n".join([*story, *(str(one) for one in failures)]))


def machine(teller: Teller) -> Any:
    """One story is one instance of the class that this gives."""
    target = teller.target
    schema = schemathesis.openapi.from_dict(msgspec.json.decode(openapi_bytes(ROUTES))).exclude(
        operation_id=NEVER_ENDING
    )
    schema.config.generation.update(modes=[GenerationMode.POSITIVE])  # the others have a test of their own
    headers = {"Authorization": f"Bearer {target.secret}", "Prefer": "wait=1", "Accept": "application/json"}

    class Story(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            teller.told += 1
            self.story: list[str] = []
            self.ends: dict[str, tuple[str, str]] = {}
            with httpx2.Client(base_url=target.url + API, headers=headers) as http:
                begun = http.post("/executions/batch", json={"executions": [{"flow": flow["id"]} for flow in FLOWS]})
            self.seen: list[str] = [one["id"] for one in begun.json()["data"]]

        def before_call(self, case: Case) -> None:
            steered(case, target.token, self.seen)

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            # The generator draws headers as well: these are the ones that count.
            for name in [name for name in case.headers or {} if name.title() in headers]:
                del case.headers[name]
            return {"base_url": target.url, "headers": dict(headers), "timeout": 20}

        def validate_response(self, response: Any, case: Case, **more: Any) -> None:
            teller.outcomes[case.operation.label, response.status_code] += 1
            self.story.append(f"{case.method} {case.formatted_path} {case.body!r:.200} → {response.status_code}")
            with teller.noting(self.story):
                case.validate_response(response, checks=STATEFUL, recorder=self.recorder, transport_kwargs=more or None)
                if response.status_code in {200, 202} and "json" in response.headers.get("content-type", [""])[0]:
                    note(response.json(), self.ends, self.seen)

        def teardown(self) -> None:
            with httpx2.Client(base_url=target.url + API, headers=headers) as http:
                for id, end in self.ends.items():
                    with teller.noting(self.story):
                        check_history(http, id, end)

    return Story


def note(body: Any, ends: dict[str, tuple[str, str]], seen: list[str]) -> None:
    """T: whatever execution an answer tells of as ended has ended as it was told before."""
    found = [body, *body["data"]] if isinstance(body, dict) and isinstance(body.get("data"), list) else [body]
    for one in found:
        if not isinstance(one, dict) or not {"id", "status", "finished_at", "flow"} <= one.keys():
            continue
        seen.append(one["id"])
        if one["status"] in TERMINAL:
            end = one["status"], one["finished_at"]
            assert ends.setdefault(one["id"], end) == end, one["id"]


def check_history(http: httpx2.Client, id: str, end: tuple[str, str]) -> None:
    now = http.get(f"/executions/{id}")
    if now.status_code == httpx2.codes.NOT_FOUND:
        return
    assert (now.json()["status"], now.json()["finished_at"]) == end
    seqs: list[int] = []
    after: int | None = 0
    while after is not None:
        page = http.get(f"/executions/{id}/events", params={"after": after, "limit": 7})
        assert page.status_code == httpx2.codes.OK, page.text
        seqs += [event["seq"] for event in page.json()["data"]]
        after = page.json()["next"] if page.json()["data"] else None
    assert seqs == list(range(1, len(seqs) + 1)), id


@pytest.mark.timeout(300)  # of a machine that is busy with others
@pytest.mark.parametrize("store", STORIES)
def test_no_story_gets_an_answer_that_the_document_does_not_tell_of(tmp_path: Path, store: str) -> None:
    with stage(tmp_path, store=new_schema_url() if store == "postgres" else None) as target:
        teller = Teller(target)
        teller.tell(int(os.environ.get("PERDURE_STORIES", STORIES[store])))
    assert not teller.findings, teller.findings[0]
    answered = sum(number for (_, status), number in teller.outcomes.items() if status < 400)
    assert answered > sum(teller.outcomes.values()) // 4, "stories get somewhere"


def test_links_lead_from_an_answer_to_what_can_be_done_with_it() -> None:
    responses = DOCUMENT["paths"][f"{API}/executions"]["post"]["responses"]
    links = DOCUMENT["components"]["links"]
    started = {name: links[link["$ref"].rpartition("/")[2]] for name, link in responses["202"]["links"].items()}
    for name in ("get_execution", "cancel_execution", "get_events", "respond_execution", "replay_execution"):
        assert started[name] == {"operationId": name, "parameters": {"execution": "$response.body#/id"}}
    assert links["list_executions-next"]["parameters"] == {"cursor": "$response.body#/next"}


def test_every_link_names_parameters_that_its_operation_takes() -> None:
    operations = {one["operationId"]: one for methods in DOCUMENT["paths"].values() for one in methods.values()}
    for link in DOCUMENT["components"]["links"].values():
        taken = {
            parameter["name"]: parameter["required"] for parameter in operations[link["operationId"]]["parameters"]
        }
        given = link.get("parameters", {}).keys()
        assert given <= taken.keys()
        assert {name for name, is_required in taken.items() if is_required} <= given


def test_every_resource_that_has_an_address_is_led_to() -> None:
    """A new resource wants a line in `perdure.api.links`."""
    operations = {one["operationId"]: path for path, methods in DOCUMENT["paths"].items() for one in methods.values()}
    reached = {link["operationId"] for link in DOCUMENT["components"]["links"].values()}
    addressed = {name for name, path in operations.items() if "{" in path and not name.endswith("_in_default")}
    assert addressed <= reached
