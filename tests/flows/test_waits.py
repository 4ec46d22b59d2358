"""What is wrong with an approval, a question or a signal is told before anything runs."""

from __future__ import annotations

import pytest

from perdure.errors import Problem
from perdure.flows.checking import check_document
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings


@pytest.mark.parametrize(
    ("node", "pointer", "told"),
    [
        ("{approval: {quorum: 3, approvers: [ada]}}", "/nodes/a/approval", "only 1 may approve: ada"),
        ("{approval: {on_expiry: maybe}}", "/nodes/a/approval/on_expiry", "none of fail, approve, reject"),
        ("{ask: {form: {n: {type: intger}}}}", "/nodes/a/ask/form", "intger"),
        (
            "{ask: {form: {n: {type: integer}}, on_expiry: {value: {n: x}}}}",
            "/nodes/a/ask/on_expiry/value/n",
            "integer",
        ),
        ("{signal: 'a b'}", "/nodes/a/signal", "no signal's name"),
        ("{transform: 1, compensate: {approval: Undo?}}", "/nodes/a/compensate/approval", "must not wait for anybody"),
        ("{approval: Go?, queue: gpu}", "/nodes/a/queue", "nothing runs meanwhile"),
    ],
)
def test_a_wait_that_cannot_be(node: str, pointer: str, told: str) -> None:
    found = problems(f"id: odd/waits\nnodes:\n  a: {node}\n")
    assert [(one.pointer, told in one.detail) for one in found] == [(pointer, True)]


@pytest.mark.parametrize(
    "node",
    [
        "{approval: Go?}",
        "{approval: {message: Go?, approvers: ['${input.who}'], quorum: 2, on_expiry: {value: 1}}, timeout: 3d}",
        "{approval: {approvers: [editors], quorum: 5}}",
        "{ask: {form: {type: array, items: {type: integer}}, on_expiry: {value: [1]}}, timeout: 1h}",
        "{ask: {form: '${input.form}'}}",
        "{signal: {name: 'paid-${input.order}', on_expiry: {value: null}}, timeout: 10d}",
    ],
)
def test_a_wait_that_can_be(node: str) -> None:
    assert problems(f"id: good/waits\nnodes:\n  a: {node}\n") == []


def problems(text: str) -> list[Problem]:
    types = load_node_types(NodeRuntime(RuntimeSettings(home=".perdure")))
    return list(check_document(text, media_type="application/yaml", node_types=types).problems)
