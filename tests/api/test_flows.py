"""Flows over HTTP: documents in, problems out with their places, versions, preconditions."""

from __future__ import annotations

from typing import Any

from tests.api.world import QUICK, World

YAML = {"content-type": "application/yaml"}
TEXT = """\
id: default/greeting
# A comment stays in the source.
nodes:
  hello: {transform: "'hello'"}
"""


async def put(world: World, path: str, text: str | bytes, **headers: str) -> Any:
    sent = {**YAML, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await world.ask("PUT", path, content=text, headers=sent)


async def test_a_bare_name_is_a_flow_of_the_default_namespace(world: World) -> None:
    response = await put(world, "/flows/greeting", TEXT)
    assert response.status_code == 201
    for path in ("/flows/greeting", "/flows/default/greeting"):
        assert (await world.ask("GET", path)).json()["id"] == "default/greeting"
    version = (await world.ask("GET", "/flows/default/greeting/versions/1")).json()
    assert version["source_text"] == TEXT
    assert version["media_type"] == "application/yaml"


async def test_yaml_and_json_of_the_same_definition_are_one_version(world: World) -> None:
    await put(world, "/flows/api/same", "id: api/same\nnodes:\n  a: {transform: '1'}\n")
    again = await world.ask("PUT", "/flows/api/same", {"nodes": {"a": {"transform": "1"}}, "id": "api/same"})
    assert again.status_code == 200
    assert again.json()["version"] == 1


async def test_a_new_definition_is_a_new_version_and_an_old_one_comes_back_as_itself(world: World) -> None:
    first = {**QUICK, "id": "api/changing"}
    second = {**first, "description": "Other."}
    numbers = [(await world.ask("PUT", "/flows/api/changing", one)).json()["version"] for one in (first, second, first)]
    assert numbers == [1, 2, 1]
    listed = (await world.ask("GET", "/flows/api/changing/versions")).json()["data"]
    assert [version["number"] for version in listed] == [2, 1]


async def test_every_problem_of_a_document_is_told_with_its_line(world: World) -> None:
    text = "id: api/bad\nnodes:\n  a: {transfrom: '1'}\n  b: {transform: '1', needs: [c]}\n"
    response = await put(world, "/flows/api/bad", text)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_flow"
    lines = {problem.get("line") for problem in response.json()["errors"]}
    assert {3, 4} <= lines
    checked = await world.ask("POST", "/flows/validate", content=text, headers=YAML)
    assert checked.status_code == 200
    assert checked.json()["valid"] is False
    assert {problem.get("line") for problem in checked.json()["errors"]} == lines


async def test_a_checked_document_says_which_version_it_would_be_and_what_it_lacks(world: World) -> None:
    text = "id: checked\nnodes:\n  a: {python: 'no_such_module:run'}\n"
    checked = (await world.ask("POST", "/flows/validate", content=text, headers=YAML)).json()
    assert (checked["valid"], checked["errors"], checked["flow"]) == (True, [], "default/checked")
    [warning] = checked["warnings"]
    assert (warning["code"], warning["pointer"], warning["line"]) == ("function_not_found", "/nodes/a/python", 3)
    assert (await world.ask("GET", "/flows/checked")).status_code == 404, "nothing is stored"
    stored = (await put(world, "/flows/checked", text)).json()
    assert stored["content_hash"] == checked["content_hash"]
    bad = (await world.ask("POST", "/flows/validate", content="id: 1", headers=YAML)).json()
    assert (bad["flow"], bad["content_hash"], bad["warnings"]) == (None, None, [])


async def test_the_id_must_be_that_of_the_path(world: World) -> None:
    response = await put(world, "/flows/api/elsewhere", TEXT)
    assert response.status_code == 422
    assert (await world.ask("GET", "/flows/api/elsewhere")).status_code == 404


def batch(*texts: str, dry_run: bool = False) -> dict[str, Any]:
    return {"documents": [{"text": text} for text in texts], "dry_run": dry_run}


def batched(name: str, body: str = "transform: '1'") -> str:
    return f"id: batched/{name}\nnodes:\n  a: {{{body}}}\n"


async def changes(world: World, body: dict[str, Any]) -> list[tuple[str, int | None, str]]:
    response = await world.ask("POST", "/flows/batch", body)
    assert response.status_code == 200, response.text
    return [(one["flow"], one["version"], one["change"]) for one in response.json()["data"]]


async def test_flows_are_put_together(world: World) -> None:
    one, two = batched("one"), batched("two")
    would_be = await changes(world, batch(one, two, dry_run=True))
    assert would_be == [("batched/one", None, "new"), ("batched/two", None, "new")]
    assert (await world.ask("GET", "/flows/batched/one")).status_code == 404
    assert await changes(world, batch(one, two)) == [("batched/one", 1, "new"), ("batched/two", 1, "new")]
    other = batched("two", "transform: '2'")
    would_be = await changes(world, batch(one, other, dry_run=True))
    assert would_be == [("batched/one", 1, "unchanged"), ("batched/two", None, "changed")]
    assert await changes(world, batch(one, other)) == [("batched/one", 1, "unchanged"), ("batched/two", 2, "changed")]
    assert await changes(world, batch(two)) == [("batched/two", 1, "changed")], "an old version is the latest again"
    assert await changes(world, batch(two)) == [("batched/two", 1, "unchanged")]
    assert (await world.ask("GET", "/flows/batched/two")).json()["version"] == 1
    stored = (await world.ask("GET", "/flows/batched/one/versions/1")).json()
    assert (stored["source_text"], stored["media_type"]) == (one, "application/yaml")


async def test_of_flows_put_together_one_that_is_refused_keeps_all_others_out(world: World) -> None:
    texts = [
        batched("good"), batched("bad", "transfrom: '1'"), batched("twin"), batched("twin"),
        "id: folder/managed\nnodes:\n  a: {transform: '1'}\n", "{",
    ]  # fmt: skip
    for dry_run in (True, False):
        response = await world.ask("POST", "/flows/batch", batch(*texts, dry_run=dry_run))
        problem = response.json()
        assert (response.status_code, problem["code"]) == (422, "invalid_flow")
        found = [(one["pointer"], one["code"], one.get("line")) for one in problem["errors"]]
        assert {pointer for pointer, _, _ in found} == {f"/documents/{index}" for index in range(1, 6)}
        assert ("/documents/3", "duplicate_flow", 1) in found
        assert ("/documents/4", "flow_managed", None) in found
        assert {line for pointer, _, line in found if pointer == "/documents/1"} == {3}
    managed = await world.ask("POST", "/flows/batch", batch(texts[0], texts[4]))
    assert (managed.status_code, managed.json()["code"]) == (409, "flow_managed")
    assert (await world.ask("GET", "/flows/batched/good")).status_code == 404
    warned = await world.ask("POST", "/flows/batch", batch(batched("lacks", "python: 'no_such_module:run'")))
    assert [one["line"] for one in warned.json()["data"][0]["warnings"]] == [3]


async def test_bad_yaml_is_refused_and_nothing_is_stored(world: World) -> None:
    bombs = [
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nid: api/bomb\n",
        b"id: api/bomb\nid: api/bomb\n",
        b"!!python/object/apply:os.system [id]",
        b"\tid: api/bomb",
        b"[" * 5_000,
        b"id: api/bomb\n---\nid: api/bomb\n",
        b"\xff\xfe",
        b"id: \x00",
        b"just text",
    ]
    for bomb in bombs:
        response = await put(world, "/flows/api/bomb", bomb)
        assert response.status_code in {400, 422}, bomb
        checked = await world.ask("POST", "/flows/validate", content=bomb, headers=YAML)
        assert (checked.status_code, checked.json()["valid"]) == (200, False), bomb
    assert (await world.ask("GET", "/flows/api/bomb")).status_code == 404


async def test_preconditions_keep_writers_from_overwriting_each_other(world: World) -> None:
    path = "/flows/api/guarded"
    document = {**QUICK, "id": "api/guarded"}
    assert (await world.ask("PUT", path, document, headers={"if-match": '"1-x"'})).status_code == 412
    assert (await world.ask("PUT", path, document, headers={"if-none-match": "*"})).status_code == 201
    etag = (await world.ask("GET", path)).headers["etag"]
    changed = {**document, "description": "Mine."}
    assert (await world.ask("PUT", path, changed, headers={"if-match": etag})).status_code == 200
    late = {**document, "description": "Theirs."}
    assert (await world.ask("PUT", path, late, headers={"if-match": etag})).status_code == 412
    assert (await world.ask("DELETE", path, headers={"if-match": etag})).status_code == 412
    assert (await world.ask("DELETE", path, headers={"if-match": "*"})).status_code == 204


async def test_flows_are_listed_by_namespace_and_page(world: World) -> None:
    found: list[str] = []
    cursor = ""
    while True:
        page = (await world.ask("GET", f"/flows?namespace=api&limit=2{cursor}")).json()
        found += [flow["id"] for flow in page["data"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == sorted(set(found))
    assert "api/quick" in found
    assert all(id.startswith("api/") for id in found)


async def test_the_graph_and_the_input_schema_of_a_flow(world: World) -> None:
    graph = (await world.ask("GET", "/flows/api/quick/dag")).json()
    assert [node["id"] for node in graph["nodes"]] == ["double", "again"]
    assert graph["edges"] == [{"from": "double", "to": "again"}]
    response = await world.ask("GET", "/flows/api/quick/schema")
    assert response.headers["content-type"] == "application/schema+json"
    assert response.json()["properties"]["n"]["minimum"] == 0


async def test_a_flow_of_a_folder_is_there_and_names_its_source(world: World) -> None:
    flow = (await world.ask("GET", "/flows/folder/managed")).json()
    assert flow["source"] is not None
    [source] = (await world.ask("GET", "//system/info")).json()["sources"]
    assert (source["flows"], source["broken"]) == (1, [])
