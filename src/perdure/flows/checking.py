"""A document judged without storing or running anything: what is wrong with it, and what may go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from perdure.base.codec import Json
from perdure.base.pointers import pointer_below
from perdure.errors import CallerError, Problem
from perdure.flows.documents import parse_document
from perdure.flows.program import Program, compile_flow
from perdure.flows.report import Report
from perdure.nodes.interface import NodeType


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """`program` is None where there are `problems`; `warnings` refuse nothing. Both are in the document's order."""

    program: Program | None = None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def check_document(
    text: str | bytes, *, media_type: str, node_types: Mapping[str, NodeType], expected_id: str | None = None
) -> Checked:
    """Everything that is wrong with a document; of a good one, what its node types and its expressions warn of.

    The arguments are those of `compile_flow`.
    """
    try:
        program = compile_flow(text, media_type=media_type, node_types=node_types, expected_id=expected_id)
    except CallerError as error:
        return Checked(problems=error.problems or (Problem(error.code, error.message),))
    found = [*_warnings(msgspec.json.decode(program.document), node_types)]
    if not found and not program.doubts:
        return Checked(program=program)
    report = Report(parse_document(text, media_type=media_type))
    for problem in found:
        report.add(problem.code, problem.detail, problem.pointer or "")
    for doubt in program.doubts:
        report.fault(doubt.pointer, doubt.text, doubt.fault)
    return Checked(program=program, warnings=report.problems)


def _warnings(definition: dict[str, Any], node_types: Mapping[str, NodeType]) -> Iterator[Problem]:
    for name, body in definition["nodes"].items():
        pointer = pointer_below("/nodes", name)
        yield from _warnings_of(body, pointer, node_types)
        yield from _warnings_of(body.get("compensate") or {}, f"{pointer}/compensate", node_types)


def _warnings_of(body: dict[str, Json], pointer: str, node_types: Mapping[str, NodeType]) -> Iterator[Problem]:
    for field, config in body.items():
        warn = getattr(node_types.get(field), "warn", None)
        for problem in () if warn is None else _told(warn, config, field):
            yield msgspec.structs.replace(problem, pointer=f"{pointer}/{field}{problem.pointer or ''}")


def _told(warn: Callable[[Json], list[Problem]], config: Json, field: str) -> list[Problem]:
    try:
        return warn(config)
    except Exception as error:
        detail = f"what {field} would warn of is not known: {type(error).__name__}: {error}"
        return [Problem("invalid_value", detail, "")]
