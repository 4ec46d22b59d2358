"""Each promise names the tests that attack it, and these are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/promises.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PROMISE = re.compile(r"^\| \*\*(?P<letter>[A-Z])\*\*", re.MULTILINE)
ON_BOTH_STORES = frozenset("TNSLKBI")


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )  # fmt: skip


def attacks() -> dict[str, list[tuple[str, str]]]:
    """Promise → (path, test), of all its rows."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if match := PROMISE.match(line):
            found.setdefault(match["letter"], []).extend(TEST.findall(line))
    return found


@pytest.mark.parametrize(("path", "test"), sorted({one for tests in attacks().values() for one in tests}))
def test_what_is_named_is_there(path: str, test: str) -> None:
    assert test in functions_of(path)


def test_every_promise_is_attacked_on_the_stores_that_it_is_made_for() -> None:
    found = attacks()
    assert found.keys() == ON_BOTH_STORES | {"F"}
    for letter, tests in found.items():
        is_shared = [path.startswith("tests/faults/postgres/") for path, _ in tests]
        assert any(is_shared), letter
        assert letter not in ON_BOTH_STORES or not all(is_shared), letter
