"""Nodes whose runs are made elsewhere: what may say so, and how their calls are stored without their secrets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.flows.checking import check_document
from perdure.flows.program import ExpressionFailed, Rendered
from perdure.flows.sealing import Seal, missing, unsealed
from perdure.flows.unit_program import UnitProgram, UnitWork, sealed
from perdure.model.execution import COMPENSATE
from tests.flows.kinds import KINDS, Kind, compiled, scope

AWAY = """
id: a/away
nodes:
  train:
    http: {url: "http://x/${item}", headers: {Authorization: "Bearer ${secrets.token}", X: "${secrets.key}"}}
    with: {user: "${item}", plain: [1]}
    env: {KEY: "${secrets.key}", PAIR: "${item}:${secrets.token}/${secrets.key}"}
    foreach: [1]
    spread: true
    requires: [b, a, b]
    compensate: {http: "http://x/undo", queue: gpu, requires: [], env: {KEY: "${secrets.key}"}}
"""
KNOWN = {"token": "t0ken", "key": "k3y"}


def problems(node: str, kinds: Any = KINDS) -> list[tuple[str, str | None, str]]:
    text = f"id: a\nnodes:\n  n: {node}"
    found = check_document(text, media_type="application/yaml", node_types=kinds).problems
    return [(problem.code, problem.pointer, problem.detail) for problem in found]


def work_of(rendered: Rendered, seal: Seal, **fields: Any) -> UnitWork:
    shown, holes = sealed(rendered, seal)
    given: dict[str, Any] = {"node": "train", "ordinal": 0, "label": "", "execution_number": 7} | fields
    work = UnitWork(config=shown.config, with_=shown.with_, env=shown.env, holes=holes, **given)
    return msgspec.json.decode(msgspec.json.encode(work), type=UnitWork)


def test_spread_queue_and_requires_are_part_of_a_node() -> None:
    node = compiled(AWAY).flow.nodes["train"]
    assert (node.spread, node.queue, node.requires) == (True, None, ("a", "b"))
    assert node.compensate is not None
    assert (node.compensate.queue, node.compensate.requires) == ("gpu", ())
    assert compiled("id: a\nnodes:\n  n: {shell: a}").flow.nodes["n"].requires is None


@pytest.mark.parametrize(
    ("node", "code", "pointer", "states"),
    [
        (
            "{python: 'a:b', spread: true}",
            "invalid_value",
            "/nodes/n/spread",
            "belongs to a node with foreach; a single",
        ),
        ("{python: 'a:b', spread: 1, foreach: [1]}", "invalid_type", "/nodes/n/spread", "must be boolean"),
        ("{python: 'a:b', queue: GPU}", "invalid_identifier", "/nodes/n/queue", "'GPU' is no queue"),
        ("{shell: a, requires: [GPU]}", "invalid_identifier", "/nodes/n/requires/0", "'GPU' is no worker's tag"),
        ("{shell: a, requires: gpu}", "invalid_type", "/nodes/n/requires", "must be array"),
        ("{transform: 1, requires: []}", "invalid_value", "/nodes/n/requires", "transform: its value"),
        ("{flow: b, foreach: [1], spread: true}", "invalid_value", "/nodes/n/spread", "flow: its child execution runs"),
        ("{flow: b, queue: gpu}", "invalid_value", "/nodes/n/queue", "flow: its child execution runs"),
        ("{fail: x, queue: gpu}", "invalid_value", "/nodes/n/queue", "fail: it ends where it begins"),
        ("{nap: 1, queue: gpu}", "invalid_value", "/nodes/n/queue", "nap: the engine carries it out"),
        (
            "{shell: a, compensate: {transform: 1, queue: q}}",
            "invalid_value",
            "/nodes/n/compensate/queue",
            "transform: its",
        ),
        ("{shell: a, compensate: {shell: b, spread: true}}", "unknown_field", "/nodes/n/compensate/spread", "'spread'"),
    ],
)
def test_what_cannot_leave_says_why(node: str, code: str, pointer: str, states: str) -> None:
    class Nap(Kind):
        control = True

    [(found, place, detail)] = problems(node, KINDS | {"nap": Nap("nap", {})})
    assert (found, place) == (code, pointer)
    assert states in detail


@pytest.mark.parametrize(
    "made", ["${base64.encode(bytes(secrets.key))}", "${'Bearer ' + secrets.key}", "${size(secrets)}"]
)
def test_what_is_made_of_secrets_cannot_be_stored_so_it_is_refused_where_a_unit_would_need_it(made: str) -> None:
    assert problems(f'{{shell: a, env: {{K: "{made}"}}}}') == []
    [(code, pointer, detail)] = problems(f'{{shell: a, queue: gpu, env: {{K: "{made}"}}}}')
    assert (code, pointer) == ("invalid_expression", "/nodes/n/env/K")
    assert "just as ${secrets.<name>}" in detail


def test_a_call_is_stored_without_its_secrets_and_gets_them_where_it_runs() -> None:
    program = compiled(AWAY)
    assert program.secrets("train", compensates=False) == {"token", "key"}
    assert program.secrets("train", compensates=True) == {"key"}
    seal = Seal(program.secrets("train", compensates=False))
    rendered = program.call("train", scope(item="ann", index=0, secrets=seal.markers))
    work = work_of(rendered, seal)
    assert work.config["headers"]["Authorization"] == "Bearer ${secrets.token}"
    assert work.env == {"KEY": "${secrets.key}", "PAIR": "ann:${secrets.token}/${secrets.key}"}
    unit = UnitProgram(program, work)
    called = unit.call("train", scope(secrets=KNOWN))
    assert called == program.call("train", scope(item="ann", index=0, secrets=KNOWN))
    assert unit.call("train", scope(secrets=KNOWN | {"key": "new"})).env["KEY"] == "new"


def test_a_text_that_only_looks_like_a_secrets_name_stays_what_it_is() -> None:
    program = compiled(AWAY)
    seal = Seal(program.secrets("train", compensates=False))
    rendered = program.call("train", scope(item="${secrets.key}", index=0, secrets=seal.markers))
    called = UnitProgram(program, work_of(rendered, seal)).call("train", scope(secrets=KNOWN))
    assert called.with_["user"] == "${secrets.key}"
    assert called.env["PAIR"] == "${secrets.key}:t0ken/k3y"


def test_a_secret_that_the_units_worker_does_not_know_is_named() -> None:
    program = compiled(AWAY)
    seal = Seal(program.secrets("train", compensates=False))
    work = work_of(program.call("train", scope(item="ann", index=0, secrets=seal.markers)), seal)
    with pytest.raises(ExpressionFailed) as caught:
        UnitProgram(program, work).call("train", scope(secrets={"token": "t"}))
    assert "no secret 'key' on the worker" in caught.value.failure.message
    assert not caught.value.failure.retryable


def test_a_unit_may_be_what_undoes_a_run() -> None:
    program = compiled(AWAY)
    seal = Seal(program.secrets("train", compensates=True))
    rendered = program.compensation("train", scope(item="ann", index=0, secrets=seal.markers))
    unit = UnitProgram(program, work_of(rendered, seal, label=COMPENSATE))
    assert unit.flow.nodes["train"].config == "http://x/undo"
    assert unit.call("train", scope(secrets=KNOWN)).env == {"KEY": "k3y"}


texts = st.text(max_size=8) | st.sampled_from(["<a>", "<b>", "x<a>y<b>", "${secrets.a}", "0.", "."])
values = st.recursive(
    texts | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_whatever_is_sealed_comes_back_with_its_secrets(value: Any) -> None:
    seal = Seal(["a", "b"])
    known = {"a": "first", "b": "second<a>"}

    def filled(part: Any, by: dict[str, str]) -> Any:
        if isinstance(part, str):
            return part.replace("<a>", by["a"]).replace("<b>", by["b"])
        if isinstance(part, list):
            return [filled(one, by) for one in part]
        return {key: filled(one, by) for key, one in part.items()} if isinstance(part, dict) else part

    shown, holes = seal.seal(filled(value, seal.markers))
    assert not any(marker in msgspec.json.encode(shown).decode() for marker in seal.markers.values())
    assert not list(missing(holes, known))
    assert unsealed(shown, holes, known) == filled(value, known)
