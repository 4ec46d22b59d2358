"""NUL, halves of surrogate pairs and endless texts: never a bare 500, and the same on either store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from perdure.api.cursors import encode_cursor
from perdure.api.routes import ROUTES
from perdure.engine.starts import MAX_COMPUTED_KEY
from perdure.flows.program import MAX_LABEL
from tests.api.conftest import Opened
from tests.api.openapi_texts import loose_ends, texts_with_nul
from tests.api.world import World
from tests.store.databases import new_schema_url

NUL = "a\0b"
INPUT = {"text": {"type": "string"}}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
async def either(open_world: Opened, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A server on one store, then on the other."""
    more = {} if request.param == "sqlite" else {"store": new_schema_url()}
    async with open_world(**more) as world:
        yield world


def place(response: httpx2.Response) -> tuple[int, str, str]:
    """Status, code and place of the one thing that is wrong."""
    [problem] = response.json()["errors"]
    return response.status_code, problem["code"], problem.get("pointer") or problem.get("parameter")


async def of_python(world: World, function: str, text: str) -> dict[str, Any]:
    id = f"odd/{function}"
    node = {"python": f"odd_texts:{function}", "with": {"text": "${input.text}"}}
    await world.put({"id": id, "input": INPUT, "nodes": {"n": node}})
    return await world.finished(id, {"text": text})


# What callers write


@pytest.mark.parametrize("when", ["owned", "waiting"])
async def test_the_reason_of_a_cancel_has_no_nul(either: World, when: str) -> None:
    later: dict[str, Any] = {"start_at": "2999-01-01T00:00:00Z"} if when == "waiting" else {}
    execution = await either.start("api/slow", **later)
    path = f"/executions/{execution['id']}/cancel"
    assert place(await either.ask("POST", path, {"reason": NUL})) == (422, "invalid_value", "/reason")
    answer = await either.ask("POST", path, {"reason": "first line\nsecond line\x01 \U0001f600"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("idempotency_key", NUL, "/idempotency_key"),
        ("idempotency_key", "key\n", "/idempotency_key"),
        ("queue", "default\n", "/queue"),
        ("tags", {"a": NUL}, "/tags/a"),
        ("tags", {"a": "b\n"}, "/tags/a"),
        ("flow", "api/quick\n", "/flow"),
        ("flow", "api/\0", "/flow"),
    ],
)
async def test_names_of_a_start_have_no_control_characters(either: World, field: str, value: Any, pointer: str) -> None:
    answer = await either.ask("POST", "/executions", {"flow": "api/quick", field: value})
    assert answer.status_code == 422
    assert [problem["pointer"] for problem in answer.json()["errors"]] == [pointer]


async def test_texts_of_a_start_are_kept_as_they_are(either: World) -> None:
    kept = {"tags": {"\u2028": "\u2028\x85'\"\\"}, "trigger_context": {NUL: NUL}, "idempotency_key": "\U0001f600" * 255}
    execution = await either.finished("api/quick", **kept)
    assert execution["tags"] == kept["tags"]
    assert execution["trigger"]["context"] == kept["trigger_context"]
    assert execution["idempotency_key"] == kept["idempotency_key"]


@pytest.mark.parametrize("where", ["flow", "node"])
async def test_a_description_has_no_nul(either: World, where: str) -> None:
    node = {"transform": "${1}"}
    flow: dict[str, Any] = {"id": "odd/described", "nodes": {"n": node}}
    (flow if where == "flow" else node)["description"] = NUL
    answer = await either.ask("PUT", "/flows/odd/described", flow)
    pointer = "/description" if where == "flow" else "/nodes/n/description"
    assert place(answer) == (422, "invalid_value", pointer)


@pytest.mark.parametrize(
    "query", ["executions?tag=a%00", "executions?tag=a:%00", "executions/stats?tag=%00", "executions/{id}/nodes/double/0?label=%00",
              "executions/{id}/logs?node=%00", "executions?namespace=api%0a", "executions?parent={id}%0a", "flows?namespace=api%0a"]
)  # fmt: skip
async def test_nothing_is_looked_for_by_a_text_that_nothing_can_have(either: World, query: str) -> None:
    execution = await either.finished("api/quick")
    answer = await either.ask("GET", "/" + query.format(id=execution["id"]))
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["parameter"] == query.partition("?")[2].partition("=")[0]


@pytest.mark.parametrize(
    "at", [["n\0", 0, ""], ["n", 0, "\0"], ["n", 2**63, ""], ["n", -(2**80), ""], ["n", 10**400, ""]]
)
async def test_a_cursor_that_we_cannot_have_made_is_refused(either: World, at: list[Any]) -> None:
    execution = await either.finished("api/quick")
    cursor = encode_cursor(f"nodes-{execution['id']}-", "default", at)
    answer = await either.ask("GET", f"/executions/{execution['id']}/nodes?cursor={quote(cursor)}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


# What expressions compute


@pytest.mark.parametrize("limit", ["concurrency", "rate"])
async def test_a_computed_key_is_refused_with_its_place(either: World, limit: str) -> None:
    of = {"limit": 100} if limit == "concurrency" else {"limit": 100, "per": "1s"}
    flow: dict[str, Any] = {
        "id": f"odd/{limit}",
        "input": INPUT,
        limit: {**of, "key": "${input.text}"},
        "nodes": {"n": {"transform": "${1}"}},
    }
    await either.put(flow)
    fits = await either.finished(flow["id"], {"text": "\U0001f600" * MAX_COMPUTED_KEY})
    assert fits["status"] == "completed"
    for text, code in (
        (NUL, "invalid_value"),
        ("x" * (MAX_COMPUTED_KEY + 1), "limit_exceeded"),
        ("\U0001f600" * 5000, "limit_exceeded"),
    ):
        start = {"flow": flow["id"], "input": {"text": text}}
        answer = await either.ask("POST", "/executions", start)
        assert place(answer) == (422, code, f"/{limit}/key")
        answer = await either.ask("POST", "/executions/batch", {"executions": [start]})
        assert place(answer) == (422, code, f"/executions/0/{limit}/key")


async def test_a_child_whose_key_is_refused_fails_its_node(either: World) -> None:
    await either.put({"id": "odd/child", "input": INPUT, "rate": {"limit": 9, "per": "1s", "key": "${input.text}"},
                      "nodes": {"n": {"transform": "${1}"}}})  # fmt: skip
    await either.put({"id": "odd/parent", "nodes": {"n": {"flow": "odd/child", "with": {"text": NUL}}}})
    execution = await either.finished("odd/parent")
    assert (execution["status"], execution["error"]["code"]) == ("failed", "invalid_request")


async def test_a_label_is_cut_and_has_no_nul(either: World) -> None:
    node = {"transform": "${item}", "foreach": "${[input.text]}", "key": "${item}"}
    await either.put({"id": "odd/label", "input": INPUT, "nodes": {"n": node}})
    execution = await either.finished("odd/label", {"text": "\U0001f600" * 3000})
    [run] = (await either.ask("GET", f"/executions/{execution['id']}/nodes")).json()["data"]
    assert run["label"] == "\U0001f600" * (MAX_LABEL - 1) + "…"
    execution = await either.finished("odd/label", {"text": NUL})
    assert execution["error"]["code"] == "expression_error"
    assert "NUL" in execution["error"]["message"]


# What code tells


@pytest.mark.parametrize("function", ["tell", "tell_afar"])
async def test_logs_and_progress_show_what_is_no_character(either: World, function: str) -> None:
    execution = await of_python(either, function, NUL)
    assert execution["status"] == "completed", execution["error"]
    logs = (await either.ask("GET", f"/executions/{execution['id']}/logs")).json()["data"]
    assert {line["message"] for line in logs} == {f"logged {NUL}\ufffd", f"printed {NUL}\ufffd"}
    events = (await either.ask("GET", f"/executions/{execution['id']}/events?types=progress")).json()["data"]
    assert [event["data"]["message"] for event in events] == [f"done {NUL}\ufffd"]


@pytest.mark.parametrize("function", ["raises", "raises_afar"])
async def test_an_error_shows_what_is_no_character(either: World, function: str) -> None:
    execution = await of_python(either, function, NUL)
    assert execution["error"]["code"] == "node_failed"
    assert execution["error"]["message"] == f"ValueError: {NUL}\ufffd"
    assert f"ValueError: {NUL}\ufffd" in execution["error"]["stack"]


async def test_a_failure_on_purpose_says_what_it_was_told(either: World) -> None:
    await either.put({"id": "odd/fail", "input": INPUT, "nodes": {"n": {"fail": {"message": "${input.text}"}}}})
    execution = await either.finished("odd/fail", {"text": NUL})
    assert (execution["error"]["code"], execution["error"]["message"]) == ("failed_on_purpose", NUL)


@pytest.mark.parametrize(
    ("function", "text"),
    [("media", NUL), ("media", "text/ä"), ("media_afar", NUL), ("media", "t" * 300), ("name", NUL)],
)
async def test_an_artifact_that_nobody_could_be_given_fails_its_node(either: World, function: str, text: str) -> None:
    execution = await of_python(either, function, text)
    assert (execution["status"], execution["error"]["code"]) == ("failed", "node_failed")
    assert execution["error"]["message"].startswith("ValueError: ")


async def test_values_hold_nul_but_no_half_of_a_pair(either: World) -> None:
    execution = await of_python(either, "gives", NUL)
    assert (execution["input"], execution["output"]) == ({"text": NUL}, {"n": NUL})
    await either.put({"id": "odd/lone", "nodes": {"n": {"python": "odd_texts:gives_lone"}}})
    execution = await either.finished("odd/lone")
    assert execution["error"]["code"] == "invalid_output"


async def test_what_a_command_prints_is_told_and_given(either: World) -> None:
    await either.put({"id": "odd/shell", "nodes": {"n": {"shell": r"printf 'a\000b\355\240\200\n'"}}})
    execution = await either.finished("odd/shell")
    shown = f"{NUL}\ufffd\ufffd\ufffd"
    assert execution["output"]["n"]["stdout"] == shown + "\n"
    logs = (await either.ask("GET", f"/executions/{execution['id']}/logs")).json()["data"]
    assert [line["message"] for line in logs] == [shown]


# All routes


def test_no_route_takes_a_text_with_nul_unless_it_is_a_value() -> None:
    """PostgreSQL's text holds no NUL. A text of a request stands in a column sooner or later."""
    assert texts_with_nul(ROUTES) == []


def test_every_pattern_is_one_of_whole_texts() -> None:
    """Python's `$` alone lets a last line break through."""
    assert loose_ends(ROUTES) == []
