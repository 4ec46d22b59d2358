"""This repository keeps the rules of the house."""

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.house.rules import RULES, Finding, Source, dead_file

ROOT = Path(__file__).parents[2]
SUFFIXES = {
    ".cfg", ".css", ".html", ".js", ".json", ".jsx", ".md", ".mjs", ".py", ".service", ".sh", ".sql", ".toml", ".ts",
    ".tsx", ".yaml", ".yml",
}  # fmt: skip
FOLDERS = (".ci", "dashboard", "deploy", "docs", "examples", "scripts", "src", "tests", "web")
NOT_OURS = {"__pycache__", "assets", "dist", "node_modules", "static"}

# (rule, path): why it may stand. An entry that excuses nothing any more fails below.
EXCEPTIONS: dict[tuple[str, str], str] = {}

# Modules that are used from outside: what users import, and what is loaded by name.
PUBLIC: dict[str, str] = {
    "perdure.base.manual_clock": "for tests of flows on the real engine, ours and our users'",
}


@cache
def sources() -> tuple[Source, ...]:
    return tuple(Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in files())


def files() -> Iterator[Path]:
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and is_text(path))
    yield from (ROOT / name for name in (".ci/run", "Makefile"))
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            inner = path.relative_to(ROOT).parts
            if path.is_file() and is_text(path) and not NOT_OURS & set(inner):
                yield path


def is_text(path: Path) -> bool:
    return path.suffix in SUFFIXES and path.name != "package-lock.json"


def entry_points() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tables = [project.get("scripts", {}), *project.get("entry-points", {}).values()]
    return {target.partition(":")[0] for table in tables for target in table.values()}


@cache
def findings(rule: str) -> tuple[Finding, ...]:
    if rule == "dead_file":
        return tuple(dead_file(sources(), entry_points() | PUBLIC.keys()))
    return tuple(finding for source in sources() for finding in RULES[rule](source))


@pytest.mark.parametrize("rule", [*RULES, "dead_file"])
def test_the_house_is_tidy(rule: str) -> None:
    open_ones = [str(finding) for finding in findings(rule) if (rule, finding.path) not in EXCEPTIONS]
    assert not open_ones, "\n" + "\n".join(open_ones)


def test_no_exception_outlives_its_cause() -> None:
    needed = {(rule, finding.path) for rule in [*RULES, "dead_file"] for finding in findings(rule)}
    assert not EXCEPTIONS.keys() - needed


def test_every_exception_gives_its_reason() -> None:
    assert all(reason.strip() for reason in [*EXCEPTIONS.values(), *PUBLIC.values()])


def test_the_listed_public_modules_exist() -> None:
    assert not PUBLIC.keys() - {source.module for source in sources()}


def test_all_of_the_product_is_watched() -> None:
    watched = {source.path for source in sources()}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py")} <= watched
