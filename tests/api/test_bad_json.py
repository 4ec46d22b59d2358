"""JSON that readers would read differently, or not at all, is refused by name and place on every route that takes it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.api.world import World

DEEPEST = 200

BAD: dict[str, tuple[bytes, str, str | None]] = {
    "NaN": (b"NaN", "number_out_of_range", ""),
    "Infinity": (b"Infinity", "number_out_of_range", ""),
    "-Infinity": (b"-Infinity", "number_out_of_range", ""),
    "1e999": (b"1e999", "number_out_of_range", ""),
    "a fraction beyond range": (b"-1.5E+400", "number_out_of_range", ""),
    "a long fraction beyond range": (b"9" * 400 + b".5", "number_out_of_range", ""),
    "an integer of 5,000 digits": (b"9" * 5_000, "number_out_of_range", ""),
    "a duplicate key": (b'{"a": 1, "a": 2}', "duplicate_key", "/a"),
    "a duplicate key by escapes": (b'{"a/b": 1, "\\u0061/b": 2}', "duplicate_key", "/a~1b"),
    "100,000 [": (b"[" * 100_000, "too_deep", None),
    "100,000 [ and ]": (b"[" * 100_000 + b"]" * 100_000, "too_deep", None),
    "201 levels": (b"[" * 201 + b"]" * 201, "too_deep", None),
    "a lone high surrogate": (b'"\\ud800"', "lone_surrogate", ""),
    "a lone low surrogate": (b'"x\\udc00"', "lone_surrogate", ""),
    "a surrogate and no second one": (b'"\\ud83d\\u0041"', "lone_surrogate", ""),
    "a lone surrogate in a key": (b'{"\\ud800": 1}', "lone_surrogate", ""),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "not_utf8", None),
    "no value": (b"nul", "syntax", None),
    "a comma too many": (b"[1,]", "syntax", None),
}
"""Text of a value, the problem's code, and its pointer below the value (None: it is placed by line and column alone)."""

ROUTES: dict[str, tuple[str, str, bytes, str]] = {
    "start": ("POST", "/executions", b'{"flow": "api/quick",\n "input": {"x": [0, %s]}}', "/input/x/1"),
    "batch": (
        "POST",
        "/executions/batch",
        b'{"executions": [{"flow": "api/quick"}, {"flow": "api/quick",\n "input": {"x": [0, %s]}}]}',
        "/executions/1/input/x/1",
    ),
    "put": (
        "PUT",
        "/flows/api/bad",
        b'{"id": "api/bad",\n "tags": {"x": [0, %s]}, "nodes": {"a": {"transform": "1"}}}',
        "/tags/x/1",
    ),
    "validate": (
        "POST",
        "/flows/validate",
        b'{"id": "api/bad",\n "tags": {"x": [0, %s]}, "nodes": {"a": {"transform": "1"}}}',
        "/tags/x/1",
    ),
}


async def send(world: World, method: str, path: str, content: bytes) -> Any:
    return await world.ask(method, path, content=content, headers={"content-type": "application/json"})


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", BAD)
async def test_it_is_refused_by_name_and_place_and_nothing_is_stored(world: World, route: str, name: str) -> None:
    method, path, body, pointer = ROUTES[route]
    text, code, below = BAD[name]
    total = (await world.ask("GET", "/executions?count=exact")).json()["total"]
    response = await send(world, method, path, body % text)
    answer = response.json()
    if route == "validate":
        assert response.status_code == 200
        assert answer["valid"] is False
    else:
        assert (response.status_code, answer["code"]) == (400, "malformed_document")
    [problem] = answer["errors"]
    assert problem["code"] == code
    assert problem["line"] == 2
    assert problem["column"] > 15
    assert problem.get("pointer") == (None if below is None else pointer + below)
    if route != "validate":
        assert answer["detail"] == f"line 2, column {problem['column']}: {problem['detail']}"
    assert (await world.ask("GET", "/executions?count=exact")).json()["total"] == total
    assert (await world.ask("GET", "/flows/api/bad")).status_code == 404


@pytest.mark.parametrize("text", [b'"\\ud83d\\ude00"', b'"\\\\ud800"', b'"\\u0000"', b"9" * 4_300, b"1e-999"])
async def test_what_is_rare_but_right_is_read(world: World, text: bytes) -> None:
    await world.put({"id": "api/same", "input": {"x": True}, "nodes": {"a": {"transform": "${input.x}"}}})
    response = await send(world, "POST", "/executions", b'\xef\xbb\xbf{"flow": "api/same", "input": {"x": %s}}' % text)
    assert response.status_code in {200, 202}, response.text
    assert response.json()["input"] == {"x": json.loads(text)}


async def test_a_value_of_the_deepest_kind_goes_through_a_flow(world: World) -> None:
    await world.put(
        {
            "id": "api/deep",
            "input": {"x": True},
            "nodes": {"a": {"transform": "${input.x}"}, "b": {"transform": {"y": "${nodes.a.output}"}}},
            "output": "${nodes.b.output.y}",
        }
    )
    levels = DEEPEST - 2  # the request and its input are two more
    text = b"[" * levels + b"]" * levels
    body = b'{"flow": "api/deep", "input": {"x": %s}}' % text
    response = await world.ask(
        "POST", "/executions", content=body, headers={"content-type": "application/json", "prefer": "wait=30"}
    )
    assert response.json()["status"] == "completed", response.text
    assert response.json()["output"] == json.loads(text)


async def test_a_node_whose_output_is_deeper_than_that_fails_clearly(world: World) -> None:
    await world.put(
        {
            "id": "api/deeper",
            "input": {"x": True},
            "nodes": {"a": {"transform": "${[[[[[[[[[[input.x]]]]]]]]]]}"}},
        }
    )
    execution = await world.finished("api/deeper", {"x": json.loads("[" * 195 + "]" * 195)})
    assert execution["status"] == "failed"
    assert execution["error"]["code"] == "limit_exceeded"
    assert "200 levels" in execution["error"]["message"]


async def test_a_large_bad_body_holds_up_nobody(world: World) -> None:
    """Looking for the fault takes a while; it is looked for aside."""
    body = b'{"flow": "api/quick", "input": {"x": [' + b"1," * 200_000 + b"1e999]}}"
    refused = asyncio.create_task(send(world, "POST", "/executions", body))
    lives = 0
    while not refused.done():
        assert (await world.ask("GET", "//health/live")).status_code == 200
        lives += 1
    assert (await refused).json()["errors"][0]["pointer"] == "/input/x/200000"
    assert lives > 1
