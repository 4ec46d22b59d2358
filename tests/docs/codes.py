"""Codes that the sources give to answers, problems and failures, read from the sources themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PROBLEM_MAKERS = frozenset({"Problem", "Finding", "Fault", "add", "settle", "_refuse", "_refused"})
FAILURE_MAKERS = frozenset({"Failure", "_failed", "RenderFailed", "_failure"})
PROBLEM_TABLES = {"src/perdure/api/findings.py": "_code", "src/perdure/flows/schema_errors.py": "_EXPLAINERS"}
"""Tables from a schema's keyword to a code; each with the name under which it stands."""

_CODE = re.compile(r"[a-z]+(_[a-z0-9]+)*")


def answer_codes(root: Path) -> set[str]:
    """Codes that the listener writes before there is a request, as `"code"` of a literal document."""
    found = set()
    for _, tree in _sources(root, "api"):
        for node in ast.walk(tree):
            for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
                if isinstance(key, ast.Constant) and key.value == "code":
                    found |= _texts(value)
    return found


def problem_codes(root: Path) -> set[str]:
    """Codes of single problems within an error's `errors`."""
    found = set()
    for path, tree in _sources(root, "api", "engine", "flows", "nodes"):
        found |= _given_to(tree, PROBLEM_MAKERS)
        if path.startswith("src/perdure/flows/"):
            found |= _chosen(tree)
        name = PROBLEM_TABLES.get(path)
        if name is not None:
            found |= _in_table(tree, name)
    return found


def failure_codes(root: Path) -> set[str]:
    """Codes of failures that node runs and executions record."""
    found = set()
    for _, tree in _sources(root, "engine", "flows", "model", "nodes"):
        found |= _given_to(tree, FAILURE_MAKERS)
    return found


def _sources(root: Path, *packages: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((root / "src" / "perdure").rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[2] in packages or relative.name == "settings.py":
            yield str(relative), ast.parse(path.read_text(encoding="utf-8"))


def _given_to(tree: ast.Module, makers: frozenset[str]) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _callee(node) in makers:
            named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            for value in named or node.args[:2]:
                if codes := _texts(value):
                    found |= codes
                    break
    return found


def _chosen(tree: ast.Module) -> set[str]:
    """What is assigned to a variable `code`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
            found |= _texts(node.value)
    return found


def _texts(value: ast.expr) -> set[str]:
    """The code, or both of a conditional one."""
    if isinstance(value, ast.IfExp):
        return _texts(value.body) | _texts(value.orelse)
    is_code = isinstance(value, ast.Constant) and isinstance(value.value, str) and _CODE.fullmatch(value.value)
    return {value.value} if is_code else set()  # type: ignore[attr-defined]


def _callee(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _in_table(tree: ast.Module, name: str) -> set[str]:
    """The codes in the table's values: texts, or tuples that begin with one."""
    found = set()
    for node in ast.walk(tree):
        is_named = (isinstance(node, ast.FunctionDef) and node.name == name) or (
            isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == name
        )
        for inner in ast.walk(node) if is_named else ():
            for value in inner.values if isinstance(inner, ast.Dict) else ():
                first = value.elts[0] if isinstance(value, ast.Tuple) else value
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found
