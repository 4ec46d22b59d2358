"""What pages hold of the code is what the code says."""

import ast
import re
from pathlib import Path

import msgspec
import pytest

from perdure.api.problems import INTERNAL_ERROR
from perdure.errors import ControlFlow, PerdureError
from perdure.flows.checking import check_document
from perdure.model.failure import RECOVERIES_EXHAUSTED
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.nodes.fail import _DEFAULT_CODE
from scripts.references import limits
from scripts.references.__main__ import MAKERS, pages
from scripts.references.flow import node_types
from scripts.references.regions import names_in, renewed
from tests.docs.codes import answer_codes, failure_codes, problem_codes

ROOT = Path(__file__).parents[2]
ERRORS_PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")

NOT_FOR_READERS = {
    "MAX_FDS": "of a message to the supervisor",
    "MAX_FRAME": "of the line to a pool process, above every value",
    "MAX_OPERANDS": "a compiled part's, split before it is reached",
    "MAX_ORDINAL": "the range of a path's number, in the reference of the API",
    "CHECK_AT_OPEN_LIMIT": "no limit of what can be stored: how thorough the start is",
}
"""Constants that look like limits and need no row of their own."""


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.name)
def test_made_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert renewed(text, MAKERS) == text, "run make docs"


def test_every_made_part_stands_on_a_page() -> None:
    placed = [name for page in pages() for name in names_in(page.read_text(encoding="utf-8"))]
    assert sorted(placed) == sorted(MAKERS)


@pytest.mark.parametrize("name", node_types())
def test_a_node_type_s_examples_are_valid(name: str) -> None:
    """Their schemas are checked by the nodes' own tests too; here they stand in a whole flow."""
    for example in node_types()[name].examples:
        document = {
            "id": "example",
            "input": True,
            "nodes": {"it": {name: example}, "fetch": {"transform": 1}, "read": {"transform": []}},
        }
        problems = check_document(_json(document), media_type="application/json", node_types=node_types()).problems
        assert not problems, problems


def test_the_page_of_errors_has_every_code_of_an_answer() -> None:
    codes = {error.code for error in _tree(PerdureError)} | {INTERNAL_ERROR} | answer_codes(ROOT)
    assert _codes_in(*_sections("Errors")) == codes


def test_the_page_of_errors_tells_status_and_retry_after() -> None:
    rows = {cells[0].strip("`"): cells for cells in _rows(*_sections("Errors"))}
    for error in _tree(PerdureError):
        cells = rows[error.code]
        assert cells[1] == str(error.status), error.code
        retry_after = error("").retry_after_s
        if retry_after is not None:
            assert cells[2] == str(retry_after), error.code


def test_the_page_of_errors_has_every_problem() -> None:
    assert _codes_in(*_sections("Problems")) == problem_codes(ROOT)


def test_the_page_of_errors_has_every_failure() -> None:
    bad_ends = TERMINAL - {ExecutionStatus.COMPLETED}
    made = {f"child_{status}" for status in bad_ends} | {RECOVERIES_EXHAUSTED, _DEFAULT_CODE}
    made.add(str(ExecutionStatus.ABANDONED))
    assert _codes_in(*_sections("Failures")) == failure_codes(ROOT) | made


def test_the_page_of_limits_leaves_none_out() -> None:
    """Every public constant that looks like a limit is read by the page's maker."""
    read = set(re.findall(r"\.([A-Z][A-Z_]+)\b", Path(limits.__file__).read_text(encoding="utf-8")))
    found = {name for path in (ROOT / "src" / "perdure").rglob("*.py") for name in _limits_of(path)}
    assert found - read == NOT_FOR_READERS.keys()


def _limits_of(path: Path) -> set[str]:
    if "bench" in path.parts:
        return set()
    named = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.startswith("MAX_") or (name.endswith("_LIMIT") and name[0] != "_"):
                named.add(name)
    return named


def _tree(root: type[PerdureError]) -> set[type[PerdureError]]:
    """All classes of the tree that the product defines."""
    found = {root}
    for child in root.__subclasses__():
        if child.__module__.startswith("perdure."):
            found |= _tree(child)
    assert not any(issubclass(error, ControlFlow) for error in found)
    return found


def _sections(*titles: str) -> list[str]:
    parts = re.split(r"^## (.+)$", ERRORS_PAGE, flags=re.MULTILINE)
    return [body for title, body in zip(parts[1::2], parts[2::2], strict=True) if title in titles]


def _rows(*sections: str) -> list[list[str]]:
    lines = [line for section in sections for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _codes_in(*sections: str) -> set[str]:
    return {cells[0].strip("`") for cells in _rows(*sections)}


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
