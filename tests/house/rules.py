"""The rules of the house, each a function from sources to findings.

A rule knows nothing of the folder it is run on; `test_tidy.py` runs them on this repository and
`test_rules.py` shows that each of them can fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

FILE_LINES = 600
FUNCTION_LINES = 70
BANNED_WORDS = frozenset({"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"})

# Spelt in two halves so that this file does not find itself.
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.})\]])/(home|root|work|Users|workspace|opt/wheels)/\w")
SQL = re.compile(
    r"^\s*(SELECT\s.+\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s"
    r"|(CREATE|DROP|ALTER)\s+(TABLE|UNIQUE|INDEX|VIEW|TRIGGER|VIRTUAL)\b|PRAGMA\s|BEGIN\s+IMMEDIATE|WITH\s+\w+\s+AS\s)",
    re.DOTALL,
)
SQL_HOMES = ("src/perdure/store/",)

# Only states that no other thing is called by: `failed`, `running` and their like are ordinary words.
STATUS_NAMES = frozenset({"abandoned", "cancelling", "interrupted", "timed_out"})
STATUS_HOMES = ("src/perdure/client/", "src/perdure/dialects/", "src/perdure/errors.py", "src/perdure/model/")

CODE_SUFFIXES = frozenset({".css", ".js", ".jsx", ".py", ".sql", ".ts", ".tsx"})


class Finding(NamedTuple):
    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Source:
    """One file: its path from the repository's root, with slashes, and its text."""

    path: str
    text: str

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py")

    @property
    def is_product(self) -> bool:
        return self.path.startswith("src/")

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(ast.parse(self.text, self.path))) if self.is_python else ()

    @cached_property
    def strings(self) -> tuple[tuple[int, str], ...]:
        """Every string literal but the docstrings and lone strings, with its line."""
        lone = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        return tuple(
            (node.lineno, node.value)
            for node in self.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in lone
        )

    @property
    def module(self) -> str:
        """`perdure.engine.owner` for `src/perdure/engine/owner.py`; a package for its `__init__.py`."""
        parts = PurePosixPath(self.path).with_suffix("").parts
        parts = parts[1:] if self.is_product else parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def long_file(source: Source) -> Iterator[Finding]:
    count = len(source.text.splitlines())
    if PurePosixPath(source.path).suffix in CODE_SUFFIXES and count > FILE_LINES:
        yield Finding(source.path, FILE_LINES, f"{count} lines, at most {FILE_LINES}")


def long_function(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > FUNCTION_LINES:
                yield Finding(source.path, node.lineno, f"{node.name} has {count} lines, at most {FUNCTION_LINES}")


def import_in_function(source: Source) -> Iterator[Finding]:
    seen = set()
    for function in source.nodes:
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            own = [name for name in imported_names(node) if name.split(".")[0] == "perdure"]
            if own and node not in seen:
                seen.add(node)
                yield Finding(source.path, node.lineno, f"{own[0]} is imported inside a function")  # type: ignore[attr-defined]


def banned_name(source: Source) -> Iterator[Finding]:
    if not source.is_python:
        return
    for part in PurePosixPath(source.path).with_suffix("").parts:
        for word in sorted(BANNED_WORDS & set(part.lower().split("_"))):
            yield Finding(source.path, 1, f"{word!r} names no concept; say what is in it")


def unfinished(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        if match := UNFINISHED.search(line):
            yield Finding(source.path, number, f"{match[0]}: finish it, or leave it out")


def machine_path(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        if match := MACHINE_PATH.search(line):
            yield Finding(source.path, number, f"a path of one machine: {match[0]}…")


def sql_outside_store(source: Source) -> Iterator[Finding]:
    if source.is_product and not source.path.startswith(SQL_HOMES):
        for line, text in source.strings:
            if SQL.match(text):
                yield Finding(source.path, line, "SQL lives under store/")


def status_literal(source: Source) -> Iterator[Finding]:
    if source.is_product and not source.path.startswith(STATUS_HOMES):
        for line, text in source.strings:
            if text in STATUS_NAMES:
                yield Finding(source.path, line, f"{text!r} is spelt in model/states.py; use the enum")


def dead_file(sources: Sequence[Source], alive: Collection[str]) -> Iterator[Finding]:
    """Modules that nothing in the product imports or names.

    Args:
        sources: all files; only those under src/ count, as the found and as the finders.
        alive: modules that are used from outside, as entry points or as public API.
    """
    product = [source for source in sources if source.is_product and source.is_python]
    named = set(alive)
    for source in product:
        found = {name for node in source.nodes for name in imported_names(node)}
        found |= {text.partition(":")[0] for _, text in source.strings}
        named |= found - {source.module}
    for source in product:
        if PurePosixPath(source.path).stem not in {"__init__", "__main__"} and source.module not in named:
            yield Finding(source.path, 1, f"nothing imports {source.module}")


def imported_names(node: ast.AST) -> Iterator[str]:
    """Every dotted name that an import may bring in: `from a import b` gives `a` and `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


RULES = {
    rule.__name__: rule
    for rule in (
        banned_name,
        import_in_function,
        long_file,
        long_function,
        machine_path,
        sql_outside_store,
        status_literal,
        unfinished,
    )
}
