"""A program renders what the engine asks for."""

from __future__ import annotations

import time

import msgspec
import pytest

from perdure.errors import InvalidFlow
from perdure.flows.program import ExpressionFailed, Scope, load_program
from perdure.flows.schema import flow_schema
from perdure.flows.schema_errors import make_validator
from perdure.model.definition import Concurrency, Isolation, OnInterrupt, OnItemError, OnLimit, Rate, Retry, RunIf
from tests.flows.kinds import KINDS, compiled, scope

DIGEST = """
id: reports/digest
description: Fetch pages and publish.
input:
  urls: {type: array, items: {type: string}, minItems: 1}
  depth: {type: integer, default: 2}
timeout: 10m
tags: {team: docs}
priority: 7
queue: heavy
max_recoveries: 2
concurrency: {limit: 5, key: "${input.urls[0]}", on_limit: skip}
rate: {limit: 100, per: 1m, key: "${size(input.urls)}"}
nodes:
  fetch:
    http: {url: "${item}", headers: {X-Depth: "${input.depth}"}}
    foreach: "${input.urls}"
    key: "${index}:${item}"
    parallel: 20
    on_item_error: "null"
    retry: {attempts: 5, backoff: 1s..60s, on: [http_status, TimeoutError]}
  digest:
    python: "reports.text:summarise"
    with: {pages: "${nodes.fetch.output}", plain: [1]}
    env: {TOKEN: "${secrets.token}", DEPTH: "${input.depth}", ON: true, NONE: "${null}", LIST: "${[1, 2]}", TEXT: plain}
    when: "nodes.fetch.output.exists(page, page != null)"
    timeout: 60s
    isolation: thread
    on_interrupt: fail
    compensate: {python: "reports.text:forget", with: {what: "${nodes.digest.output}"}, retry: {attempts: 2, backoff: 5}}
  clean: {python: "reports.text:clean", needs: [digest], run_if: always}
output: {title: "${nodes.digest.output.title}", by: "${execution.number}"}
"""


@pytest.fixture(scope="module")
def program():
    return compiled(DIGEST)


@pytest.fixture
def view():
    return scope(
        {"urls": ["http://a", "http://b"], "depth": 2},
        outputs={"fetch": [{"body": "x"}, None], "digest": {"title": "T"}},
        secrets={"token": "s3cret"},
    )


def test_the_definition_is_typed(program):
    flow = program.flow
    assert (flow.id, flow.timeout, flow.priority, flow.queue, flow.tags) == (
        "reports/digest",
        600_000_000,
        7,
        "heavy",
        {"team": "docs"},
    )
    assert flow.concurrency == Concurrency(5, "${input.urls[0]}", OnLimit.SKIP)
    assert flow.rate == Rate(100, 60_000_000, "${size(input.urls)}")
    assert flow.max_recoveries == 2
    fetch, digest, clean = (flow.nodes[name] for name in ("fetch", "digest", "clean"))
    assert fetch.retry == Retry(5, 1_000_000, 60_000_000, ("http_status", "TimeoutError"))
    assert (fetch.on_item_error, fetch.parallel) == (OnItemError.NULL, 20)
    assert (digest.timeout, digest.isolation, digest.on_interrupt) == (
        60_000_000, Isolation.THREAD, OnInterrupt.FAIL,
    )  # fmt: skip
    assert digest.needs == ("fetch",)
    assert (clean.needs, clean.run_if) == (("digest",), RunIf.ALWAYS)
    assert digest.compensate is not None
    assert digest.compensate.retry == Retry(2, 5_000_000, 5_000_000)
    assert list(flow.nodes) == ["fetch", "digest", "clean"]


def test_it_is_the_same_after_it_was_stored(program):
    again = load_program(program.document, node_types=KINDS)
    assert again.flow == program.flow
    assert list(again.flow.nodes) == list(program.flow.nodes)
    assert (again.document, again.content_hash) == (program.document, program.content_hash)


def test_outputs_keep_the_order_in_which_they_were_written_when_it_was_stored():
    text = "id: a\nnodes: {n: {transform: {z: 1, a: 2}}}\noutput: {later: '${1}', earlier: '${2}'}"
    again = load_program(compiled(text).document, node_types=KINDS)
    assert list(again.output(scope(outputs={"n": None}))) == ["later", "earlier"]
    assert list(again.call("n", scope()).config) == ["z", "a"]


def test_equal_content_has_an_equal_hash():
    one = compiled("id: a\ninput: {x: {type: string}}\nnodes: {b: {transform: 1}, a: {transform: 2}}")
    two = compiled(
        "# another way to write it\nnodes:\n  a: {transform: 2}\n  b: {transform: 1}\ninput:\n  type: object\n  required: [x]\n"
        "  additionalProperties: false\n  properties: {x: {type: string}}\nid: default/a"
    )
    assert one.content_hash == two.content_hash
    assert list(one.flow.nodes) == list(two.flow.nodes) == ["a", "b"]
    assert compiled("id: a\nnodes: {b: {transform: 1}}").content_hash != one.content_hash


def test_a_stored_flow_whose_type_is_gone_is_refused(program):
    with pytest.raises(InvalidFlow, match="the type of node digest is not installed"):
        load_program(program.document, node_types={"http": KINDS["http"]})


def test_inputs_are_checked_and_filled(program):
    assert program.check_input({"urls": ["x"]}) == {"urls": ["x"], "depth": 2}


def test_keys_of_limits(program):
    given = program.check_input({"urls": ["x", "y"]})
    assert program.limit_key(given) == "x"
    assert program.rate_key(given) == "2"
    with pytest.raises(ExpressionFailed) as caught:
        program.limit_key({"urls": []})
    assert caught.value.failure.code == "expression_error"
    assert compiled("id: a\nnodes: {a: {transform: 1}}").limit_key({}) == ""


def test_foreach(program, view):
    items = program.items("fetch", view)
    assert items == ["http://a", "http://b"]
    inner = msgspec.structs.replace(view, item=items[1], index=1)
    assert program.label("fetch", inner) == "1:http://b"
    assert program.call("fetch", inner).config == {"url": "http://b", "headers": {"X-Depth": 2}}
    assert program.label("digest", view) == ""


def test_calls_are_rendered(program, view):
    rendered = program.call("digest", view)
    assert rendered.config == "reports.text:summarise"
    assert rendered.with_ == {"pages": [{"body": "x"}, None], "plain": [1]}
    assert rendered.env == {"TOKEN": "s3cret", "DEPTH": "2", "ON": "true", "LIST": "[1,2]", "TEXT": "plain"}
    assert program.compensation("digest", view).with_ == {"what": {"title": "T"}}
    assert program.when("digest", view) is True
    assert program.when("clean", view) is True
    assert program.output(view) == {"title": "T", "by": 7}
    assert program.output_references() == {"digest"}
    with pytest.raises(KeyError):
        program.compensation("fetch", view)


def test_who_gets_values_may_change_them(program, view):
    rendered = program.call("digest", view)
    rendered.with_["pages"][0]["body"] = "changed"
    rendered.with_["plain"].append(2)
    again = program.call("digest", view)
    assert again.with_ == {"pages": [{"body": "x"}, None], "plain": [1]}
    assert view.nodes["fetch"]["output"] == [{"body": "x"}, None]


def one(body, extra=""):
    return compiled(f"id: a\n{extra}\nnodes: {{n: {{{body}}}}}")


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ([], []), ([1, [2]], [1, [2]]), ({}, []), ({"a": 1, "b": None}, [{"key": "a", "value": 1}, {"key": "b", "value": None}]),
    ],
)  # fmt: skip
def test_lists_and_maps_are_run_over(value, items):
    program = one("transform: '${item}', foreach: '${input}'")
    assert program.items("n", scope(value)) == items


def test_a_list_may_be_written_out():
    program = one("transform: '${item}', foreach: ['a', '${input}', {b: 1}]")
    assert program.items("n", scope(2)) == ["a", 2, {"b": 1}]


@pytest.mark.parametrize("value", [None, "abc", 3, True])
def test_anything_else_is_not_run_over(value):
    program = one("transform: '${item}', foreach: '${input}'")
    with pytest.raises(ExpressionFailed, match="needs a list or a map") as caught:
        program.items("n", scope(value))
    assert caught.value.failure.node == "n"


def test_a_fan_out_beyond_the_limit_names_the_limit():
    program = one("transform: '${item}', foreach: '${input}'")
    assert len(program.items("n", scope(list(range(10_000))))) == 10_000
    with pytest.raises(ExpressionFailed) as caught:
        program.items("n", scope(list(range(10_001))))
    assert caught.value.failure.code == "limit_exceeded"
    assert "at most 10000" in caught.value.failure.message


@pytest.mark.parametrize(
    ("when", "result"), [("true", True), ("false", False), ("'${input == 1}'", True), ("' input == 2 '", False)]
)
def test_conditions(when, result):
    assert one(f"transform: 1, when: {when}").when("n", scope(1)) is result


@pytest.mark.parametrize("value", [None, 1, "true", []])
def test_a_condition_is_a_boolean(value):
    with pytest.raises(ExpressionFailed, match="must be true or false"):
        one("transform: 1, when: input").when("n", scope(value))


def test_a_failure_is_data_with_the_expression_and_its_place():
    program = one("transform: {a: ['x ${ input.missing } y']}")
    with pytest.raises(ExpressionFailed) as caught:
        program.call("n", scope({"there": 1}))
    failure = caught.value.failure
    assert (failure.code, failure.node, failure.retryable, failure.error_types) == (
        "expression_error",
        "n",
        False,
        ("expression_error",),
    )
    assert failure.message == "transform.a.0: no such key: 'missing'; there are there in ${input.missing}"
    assert failure.details == {"pointer": "/nodes/n/transform/a/0", "expression": "input.missing"}


def test_a_bomb_fails_with_the_code_of_the_budget():
    with pytest.raises(ExpressionFailed) as caught:
        one("transform: '${input.map(x, input)}'").call("n", scope(list(range(5_000))))
    assert caught.value.failure.code == "expression_budget"


def test_a_secret_that_is_missing_fails_without_naming_others():
    program = one("transform: '${secrets.b}'")
    with pytest.raises(ExpressionFailed) as caught:
        program.call("n", scope(secrets={"a": "value-of-a"}))
    assert "value-of-a" not in caught.value.failure.message


def test_an_environment_variable_holds_no_nul():
    with pytest.raises(ExpressionFailed, match="NUL"):
        one("transform: 1, env: {A: '${input}'}").call("n", scope("a\0b"))


def test_without_output_the_last_nodes_outputs_are_it():
    program = compiled("id: a\nnodes: {a: {transform: 1}, b: {transform: '${nodes.a.output}'}, c: {transform: 1}}")
    assert program.output_references() == {"b", "c"}
    assert program.output(scope(outputs={"b": [1], "c": None})) == {"b": [1], "c": None}


def test_rendering_costs_next_to_nothing():
    """Generous bounds: a regression of the order of magnitude, not of the machine's mood."""
    program = compiled("id: a\nnodes: {a: {python: 'm:f'}, b: {python: 'm:f', with: {x: '${nodes.a.output.x}'}}}")
    view = scope(outputs={"a": {"x": 1}})
    begin = time.process_time()
    for _ in range(10_000):
        program.call("a", view)
    static = time.process_time() - begin
    begin = time.process_time()
    for _ in range(10_000):
        program.call("b", view)
    path = time.process_time() - begin
    assert static < 0.1
    assert path < 0.4


def test_the_published_schema_is_valid_and_accepts_what_compiles(program):
    schema = flow_schema(KINDS)
    validator = make_validator(schema)
    assert validator.is_valid(msgspec.json.decode(program.document))
    assert not validator.is_valid({"id": "a", "nodes": {"n": {"foo": 1}}})

    def undescribed(part, path):
        for name, inner in part.get("properties", {}).items():
            if isinstance(inner, dict):
                if "description" not in inner and name not in KINDS and "headers" not in path:
                    yield f"{path}/{name}"
                yield from undescribed(inner, f"{path}/{name}")
        for keyword in ("additionalProperties", "items"):
            if isinstance(part.get(keyword), dict):
                yield from undescribed(part[keyword], path)

    assert [path for path in undescribed(schema, "") if "/http/" not in path] == []


def test_a_scope_is_cheap_to_make():
    assert Scope(input={}, nodes={}, execution={}).secrets == {}
