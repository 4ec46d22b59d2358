"""Documents become programs, or a report of everything that is wrong with them, each with its place."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from perdure.errors import InvalidFlow, LimitExceeded, MalformedDocument, UnsupportedMediaType
from perdure.flows.checking import check_document
from perdure.flows.program import compile_flow
from perdure.model.definition import OnItemError
from tests.flows.kinds import KINDS, compiled


def report(text, **options):
    problems = check_document(text, media_type="application/yaml", node_types=KINDS, **options).problems
    return [(f"{problem.line}:{problem.column}", problem.code, problem.pointer) for problem in problems]


def details(text):
    checked = check_document(text, media_type="application/yaml", node_types=KINDS)
    return [problem.detail for problem in checked.problems]


EVERYTHING_WRONG = """\
id: Reports/x
tiemout: 3
timeout: -1
priority: 12
input: {a: {type: strin}}
nodes:
  a: {pyton: "x", needs: [b, zz]}
  b:
    http: {url: "${nodes.bb.output} and ${item}"}
    needs: [a]
    retry: {attempts: 0, backoff: 60s..1s}
    timeout: 1e9
  c: {http: {ulr: x}, with: {x: "${ nodes.c.outpt }"}, run_if: succeded}
  d: {}
  e-f: {fail: x}
  g: {fail: x, python: "a:b", env: {A: [1], "B=": x}, parallel: 3, when: "secrets.x == 'a'"}
  h:
    transform: |
      line one
      and ${inptu.x}
output: "${"
triggers: [{schedule: {cron: "0 0 30 2 *", timezone: Mars/X}}, {webhook: {name: ../x}}]
"""


def test_all_problems_of_a_document_are_told_at_once_with_their_places():
    assert report(EVERYTHING_WRONG) == [
        ("1:5", "invalid_identifier", "/id"),
        ("2:1", "unknown_field", "/tiemout"),
        ("3:10", "out_of_range", "/timeout"),
        ("4:11", "out_of_range", "/priority"),
        ("5:19", "invalid_schema", "/input/a/type"),
        ("7:3", "cycle", "/nodes/a"),
        ("7:7", "unknown_field", "/nodes/a/pyton"),
        ("7:30", "unknown_node", "/nodes/a/needs/1"),
        ("9:20", "unknown_node", "/nodes/b/http/url"),
        ("9:43", "unknown_name", "/nodes/b/http/url"),
        ("11:23", "out_of_range", "/nodes/b/retry/attempts"),
        ("11:35", "out_of_range", "/nodes/b/retry/backoff"),
        ("12:14", "out_of_range", "/nodes/b/timeout"),
        ("13:13", "missing_field", "/nodes/c/http"),
        ("13:14", "unknown_field", "/nodes/c/http/ulr"),
        ("13:37", "unknown_name", "/nodes/c/with/x"),
        ("13:64", "invalid_value", "/nodes/c/run_if"),
        ("14:6", "node_type", "/nodes/d"),
        ("15:3", "invalid_identifier", "/nodes/e-f"),
        ("16:6", "node_type", "/nodes/g"),
        ("16:36", "invalid_value", "/nodes/g/env"),
        ("16:40", "invalid_type", "/nodes/g/env/A"),
        ("16:55", "invalid_value", "/nodes/g/parallel"),
        ("16:75", "unknown_name", "/nodes/g/when"),
        ("20:13", "unknown_name", "/nodes/h/transform"),
        ("21:10", "invalid_expression", "/output"),
        ("22:30", "invalid_cron", "/triggers/0/schedule/cron"),
        ("22:54", "unknown_timezone", "/triggers/0/schedule/timezone"),
        ("22:81", "invalid_identifier", "/triggers/1/webhook/name"),
    ]


def test_compiling_raises_all_of_them():
    with pytest.raises(InvalidFlow) as caught:
        compiled(EVERYTHING_WRONG)
    assert len(caught.value.problems) == 29
    assert caught.value.message.startswith("line 1, column 5: 'Reports/x' is no flow id")
    assert "28 more" in caught.value.message


def test_the_nearest_known_name_is_told():
    told = " ".join(details(EVERYTHING_WRONG))
    for hint in ("'timeout'", "'python'", "'b'", "'url'", "'output'", "'succeeded'", "'input'"):
        assert f"did you mean {hint}?" in told
    assert "a → b → a" in told
    assert details("id: a\nnodes:\n  fetch: {fail: x}\n  b: {fail: x, needs: [fecth]}") == [
        "there is no node 'fecth' to need; did you mean 'fetch'?"
    ]


def node(body):
    return f"id: a\nnodes:\n  n: {{transform: 1, {body}}}"


@pytest.mark.parametrize(
    ("body", "code", "states"),
    [
        ("retry: {attempts: 0}", "out_of_range", "from 1 to 1000"),
        ("retry: {attempts: -1}", "out_of_range", "from 1 to 1000"),
        ("retry: {attempts: 1000000000}", "out_of_range", "from 1 to 1000"),
        ("retry: {attempts: many}", "invalid_type", "must be integer"),
        ("retry: {attempts: 1.5}", "invalid_type", "must be integer"),
        ("retry: {attempts: true}", "invalid_type", "must be integer"),
        ("retry: {backoff: -1s}", "invalid_duration", "from 0s to 1d"),
        ("retry: {backoff: 1s..2s..3s}", "invalid_duration", "write 1s..60s"),
        ("retry: {backoff: 2d}", "out_of_range", "from 0s to 1d"),
        ("retry: {backoff: [1]}", "invalid_type", "must be"),
        ("timeout: 0", "out_of_range", "above 0 to 3650d"),
        ("timeout: -5", "out_of_range", "above 0 to 3650d"),
        ("timeout: 1000000000", "out_of_range", "above 0 to 3650d"),
        ("timeout: soon", "invalid_duration", "write 500ms, 30s"),
        ("timeout: 5 m", "invalid_duration", "write 500ms, 30s"),
        ("timeout: ~", "invalid_type", "must be string or number"),
        ("foreach: [1], parallel: 0", "out_of_range", "from 1 to 10000"),
        ("foreach: [1], parallel: 1000000000", "out_of_range", "from 1 to 10000"),
        ("queue: gpu", "invalid_value", "transform: its value is known before it could leave"),
        ("foreach: [1], spread: true", "invalid_value", "spread belongs to a node that does work (python, shell"),
        ("foreach: [1], on_item_error: nul", "invalid_value", "none of fail, null;"),
        ("when: 3", "invalid_type", "must be string or boolean"),
        ("needs: b", "invalid_type", "must be array"),
    ],
)
def test_a_number_or_duration_out_of_range_is_told_with_the_range(body, code, states):
    problems = check_document(node(body), media_type="application/yaml", node_types=KINDS).problems
    assert [problem.code for problem in problems] == [code]
    assert states in problems[0].detail


@pytest.mark.parametrize(
    ("field", "code", "states"),
    [
        ("priority: 10", "out_of_range", "from 0 to 9"),
        ("priority: -1", "out_of_range", "from 0 to 9"),
        ("timeout: 0s", "out_of_range", "above 0"),
        ("max_recoveries: -1", "out_of_range", "from 0 to 1000"),
        ("concurrency: {limit: 0}", "out_of_range", "from 1 to 100000"),
        ("concurrency: {limit: 1, on_limit: wait}", "invalid_value", "queue, reject, skip, cancel_oldest"),
        ("concurrency: {}", "missing_field", "'limit' is missing"),
        ("concurrency: {limit: 1, key: '${nodes.n.output}'}", "unknown_node", "no node"),
        ("concurrency: {limit: 1, key: '${secrets.k}'}", "unknown_name", "recorded"),
        ("rate: {limit: 1, per: 0}", "out_of_range", "from 1ms to 366d"),
        ("rate: {limit: 1, per: 400d}", "out_of_range", "from 1ms to 366d"),
        ("rate: {limit: 1000000000, per: 1s}", "out_of_range", "from 1 to 1000000"),
        ("tags: {a: 1}", "invalid_type", "must be string"),
        ("queue: 'Ä'", "invalid_identifier", "a-z 0-9"),
        ("queue: ../x", "invalid_identifier", "a-z 0-9"),
        ("queue: a%2Fb", "invalid_identifier", "a-z 0-9"),
        ("tags: {'a:b': x}", "invalid_value", "a:b"),
        (f"tags: {{{'k' * 64}: x}}", "invalid_value", "63 characters"),
        (f"tags: {{a: {'v' * 256}}}", "out_of_range", "255"),
        (f"tags: {{{', '.join(f'k{n}: x' for n in range(33))}}}", "out_of_range", "32"),
        ("output: '${secrets.a}'", "unknown_name", "recorded"),
        ("triggers: [{cron: x}]", "unknown_field", "unknown field 'cron'"),
        ("input: 3", "invalid_type", "must be object or boolean"),
    ],
)
def test_a_wrong_field_of_a_flow_is_told(field, code, states):
    problems = check_document(
        f"id: a\n{field}\nnodes: {{n: {{transform: 1}}}}", media_type="application/yaml", node_types=KINDS
    ).problems
    assert [problem.code for problem in problems] == [code]
    assert states in problems[0].detail


def test_a_bare_null_for_failed_items_means_the_same_as_the_text():
    bare, text = (compiled(node(f"foreach: [1], on_item_error: {written}")) for written in ("null", '"null"'))
    assert bare.flow.nodes["n"].on_item_error is OnItemError.NULL
    assert bare.content_hash == text.content_hash
    [problem] = check_document(node("on_item_error: null"), media_type="application/yaml", node_types=KINDS).problems
    assert problem.pointer == "/nodes/n/on_item_error"


@pytest.mark.parametrize(
    "written", ["..", "a/../b", "a%2Fb", "a%252Fb", '"a\\0b"', "аdmin", "A", "a/b/c", "/a", "a/", "-a", "a" * 64, "a b", ""]
)  # fmt: skip
def test_an_id_that_is_none_is_refused(written):
    quoted = written or "''"
    text = f"id: {quoted}\nnodes: {{n: {{transform: 1}}}}"
    assert report(text) == [("1:5", "invalid_identifier", "/id")]


def test_a_bare_name_is_in_the_default_namespace():
    program = compiled("id: digest\nnodes: {n: {transform: 1}}")
    assert program.flow.id == "default/digest"
    assert program.content_hash == compiled("id: default/digest\nnodes: {n: {transform: 1}}").content_hash


def test_the_expected_id_must_be_the_documents():
    text = "id: reports/a\nnodes: {n: {transform: 1}}"
    assert report(text, expected_id="reports/a") == []
    assert report(text, expected_id="a") == [("1:5", "id_mismatch", "/id")]


@pytest.mark.parametrize("text", ["[]", "3", "text", "~"])
def test_what_is_no_mapping_is_no_flow(text):
    assert [code for _, code, _ in report(text)] == ["invalid_type"]


def test_a_flow_needs_an_id_and_nodes():
    assert [code for _, code, _ in report("{}")] == ["missing_field", "missing_field"]
    assert [code for _, code, _ in report("id: a\nnodes: {}")] == ["out_of_range"]
    assert [code for _, code, _ in report("id: a\nnodes: []")] == ["invalid_type"]
    assert [code for _, code, _ in report("id: a\nnodes: {a: 3}")] == ["invalid_type"]


def test_a_flow_of_10_000_nodes_is_refused_with_the_limit():
    text = "id: a\nnodes:\n" + "".join(f"  n{number}: {{fail: x}}\n" for number in range(10_000))
    problems = check_document(text, media_type="application/yaml", node_types=KINDS).problems
    assert [problem.code for problem in problems] == ["limit_exceeded"]
    assert "at most 1000" in problems[0].detail


def test_a_flow_at_the_limit_is_compiled_in_time():
    lines = "".join(
        f"  n{number}: {{python: 'm:f', with: {{a: '${{nodes.n{number - 1}.output.x + 1}}'}}}}\n"
        for number in range(1, 1_000)
    )
    begin = time.process_time()
    program = compiled("id: a\nnodes:\n  n0: {transform: 1}\n" + lines)
    assert time.process_time() - begin < 5
    assert list(program.flow.nodes)[-1] == "n999"


def test_expressions_of_a_flow_are_bounded_together():
    long = "${'" + "x" * 9_000 + "'}"
    text = "id: a\nnodes: {n: {transform: [" + ",".join([f'"{long}"'] * 30) + "]}}"
    assert {code for _, code, _ in report(text)} == {"limit_exceeded"}


@pytest.mark.parametrize("expression", ["${1}", "${wrong}"])
def test_a_long_key_is_not_held_again_for_every_expression_below_it(expression):
    items = ", ".join([f'"{expression}"'] * 500)
    text = 'id: a\nnodes: {n: {transform: {? "' + "k" * 200_000 + '" : [' + items + "]}}}\n"
    tracemalloc.start()
    try:
        found = report(text)
        assert tracemalloc.get_traced_memory()[1] < 70_000_000
    finally:
        tracemalloc.stop()
    assert [code for _, code, _ in found].count("limit_exceeded") == 1


def test_thousands_of_faults_are_told_in_time():
    text = "id: a\nnodes:\n  n:\n    transform:\n" + "      - ${wrong}\n" * 10_000
    begin = time.process_time()
    found = report(text)
    assert time.process_time() - begin < 5
    assert found[-1] == ("10004:11", "unknown_name", "/nodes/n/transform/9999")
    assert len(found) == 10_000


def test_a_document_that_is_none_is_reported_or_raised():
    assert report("a: [") == [("2:1", "syntax", None)]
    with pytest.raises(MalformedDocument):
        compiled("a: [")
    with pytest.raises(LimitExceeded):
        compiled("a: " + "x" * 1024 * 1024)
    with pytest.raises(UnsupportedMediaType):
        compile_flow("a", media_type="text/html", node_types=KINDS)


def test_json_documents_have_places_too():
    text = '{"id": "a",\n "nodes": {"n": {"transform": "${foo}",\n  "tiemout": 1}}}'
    problems = check_document(text, media_type="application/json", node_types=KINDS).problems
    assert [(problem.line, problem.column, problem.code) for problem in problems] == [
        (2, 34, "unknown_name"),
        (3, 3, "unknown_field"),
    ]
    good = '{"id": "a", "nodes": {"n": {"transform": 1}}}'
    assert (
        compiled(good, media_type="application/json").document == compiled("id: a\nnodes: {n: {transform: 1}}").document
    )


def test_references_are_needs():
    program = compiled(
        """
id: a
nodes:
  a: {transform: 1}
  b: {transform: "${nodes.a.output}"}
  c: {transform: 1, when: "nodes.a.status == 'completed'", env: {X: "${nodes.b.output}"}}
  d: {transform: 1, foreach: "${nodes.a.output}", key: "${nodes.c.output}-${item}", needs: [b, a]}
"""
    )
    assert program.flow.nodes["b"].needs == ("a",)
    assert program.flow.nodes["c"].needs == ("a", "b")
    assert program.flow.nodes["d"].needs == ("b", "a", "c")
    assert program.references("d") == {"a", "c"}


def test_a_node_that_reads_itself_waits_for_itself():
    assert details("id: a\nnodes: {n: {transform: '${nodes.n.output}'}}") == ["n needs itself"]


def test_compensate_reads_its_own_node_and_those_before_it():
    text = """
id: a
nodes:
  a: {transform: 1}
  b: {transform: "${nodes.a.output}", compensate: {python: "m:undo", with: {mine: "${nodes.b.output}", its: "${nodes.a.output}"}}}
  c: {transform: 1%s}
"""
    program = compiled(text % "")
    assert program.flow.nodes["b"].needs == ("a",)
    assert program.references("b") == {"a", "b"}
    undo = program.flow.nodes["b"].compensate
    assert undo is not None
    assert (undo.id, undo.type, undo.needs) == ("b", "python", ())
    assert report(text % ", compensate: {fail: '${nodes.a.output}'}") == [
        ("6:33", "unknown_node", "/nodes/c/compensate")
    ]
    assert report(text % ", compensate: {fail: x, needs: [a], when: 'true'}") == [
        ("6:43", "unknown_field", "/nodes/c/compensate/needs"),
        ("6:55", "unknown_field", "/nodes/c/compensate/when"),
    ]


def test_item_is_known_in_a_foreach_alone():
    assert report("id: a\nnodes: {n: {transform: '${item}', foreach: [1]}}") == []
    assert report("id: a\nnodes: {n: {transform: 1, foreach: '${item}'}}")[0][1] == "unknown_name"
    assert report("id: a\nnodes: {n: {transform: 1, when: 'index > 0', foreach: [1]}}")[0][1] == "unknown_name"


def test_what_the_node_type_says_itself_is_told_once():
    text = "id: a\nnodes:\n  n: {shell: 'echo ${HOME}'}"
    assert report(text) == [("3:14", "template_in_command", "/nodes/n/shell")]


@pytest.mark.parametrize("config", ["'A/b'", "{flow: a/b/c}", "''", "{flow: ../x}"])
def test_a_childs_address_that_is_none_is_told(config):
    assert [code for _, code, _ in report(f"id: a\nnodes: {{n: {{flow: {config}}}}}")] == ["invalid_identifier"]


@pytest.mark.parametrize("config", ["b", "a/b", "'${input.flow}'", "{flow: '${input.flow}'}"])
def test_a_childs_address_may_be_known_later(config):
    assert report(f"id: a\nnodes: {{n: {{flow: {config}}}}}") == []


def test_places_within_texts_of_every_style():
    text = """\
id: a
nodes:
  plain:
    transform: a ${foo} b
  single: {transform: 'it''s ${foo}'}
  double: {transform: "x\\t${foo}"}
  block:
    transform: |
      first

      second ${foo}
  folded:
    transform: >-
      first
      ${foo}
  alias: {transform: &x "${foo}"}
"""
    places = [place for place, code, _ in report(text) if code == "unknown_name"]
    assert places == ["4:20", "5:32", "6:29", "11:16", "15:9", "16:28"]


def test_the_shape_and_the_content_are_told_together():
    text = "id: a\nnodes:\n  n: {transform: '${foo}', needs: {}, retry: 3, with: [], env: x, run_if: [], timeout: {}, foreach: 3}"
    codes = [code for _, code, _ in report(text)]
    assert codes.count("unknown_name") == 1
    assert codes.count("invalid_type") == 6
