"""Many definitions put at once: what is wrong with any of them, and what each changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from perdure.errors import FlowManaged, InvalidFlow, Problem
from perdure.flows.checking import Checked
from perdure.flows.folder import doubles
from perdure.flows.program import Program
from perdure.store.records import FlowPut, FlowRecord, FlowVersionRecord

MOST_TOLD = 1_000
"""Problems of all definitions together that are told."""


class FlowText(msgspec.Struct, frozen=True):
    """A definition as it was given; `place` is a JSON pointer to it in the request that holds it."""

    text: bytes
    media_type: str
    place: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a definition changed or would change; `version` is None while it is not known."""

    flow: str
    version: int | None
    change: Literal["new", "changed", "unchanged"]
    warnings: tuple[Problem, ...] = ()


def changed(program: Program, put: FlowPut) -> Change:
    """What was put."""
    change: Literal["new", "changed", "unchanged"] = "new"
    if put.before is not None:
        change = "unchanged" if put.before == put.number else "changed"
    return Change(flow=program.flow.id, version=put.number, change=change)


def planned(program: Program, latest: FlowVersionRecord | None) -> Change:
    """What would be put; `latest` is the flow's latest version, None of one that is not there."""
    flow = program.flow.id
    if latest is None:
        return Change(flow=flow, version=None, change="new")
    if latest.content_hash == program.content_hash:
        return Change(flow=flow, version=latest.number, change="unchanged")
    return Change(flow=flow, version=None, change="changed")


def refuse_bad(texts: Sequence[FlowText], checked: Sequence[Checked], known: Sequence[FlowRecord | None]) -> None:
    """Raises `InvalidFlow` or, where nothing else is wrong, `FlowManaged`; `known` are their flows as they stand now."""
    found = {text.place: list(one.problems) for text, one in zip(texts, checked, strict=True)}
    ids = {text.place: one.program.flow.id for text, one in zip(texts, checked, strict=True) if one.program is not None}
    for place, double in doubles(ids).items():
        found[place].append(double)
    is_invalid = any(found.values())
    for problems, record in zip(found.values(), known, strict=True):
        if record is not None and record.source is not None:
            detail = f"the flow {record.id} is managed by the server's folder {record.source}: change its file there"
            problems.append(Problem("flow_managed", detail))
    if bad := sum(map(bool, found.values())):
        placed = [
            msgspec.structs.replace(problem, pointer=place) for place, problems in found.items() for problem in problems
        ]
        error = InvalidFlow if is_invalid else FlowManaged
        detail = f"{bad} of {len(texts)} definitions refused; nothing was put"
        raise error(detail, problems=tuple(placed[:MOST_TOLD]))
