"""`perdure run --fixture`: a recorded execution run again without side effects."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.base.codec import encode_text
from perdure.base.texts import cut
from perdure.cli.exits import ERROR, Exit
from perdure.cli.findings import print_findings
from perdure.cli.lines import run_name
from perdure.cli.output import note, print_json
from perdure.errors import InvalidFlow, MalformedDocument, Problem
from perdure.testing import FixtureDifference, FixtureOutcome, load_fixture, run_fixture

_SHOWN = 80


def rehearse(fixture_file: Path, flow_file: Path | None) -> None:
    """Print the output; tell each difference on stderr, and end with 1 if there is one."""
    try:
        fixture = load_fixture(fixture_file)
    except (OSError, MalformedDocument) as error:
        raise click.BadParameter(str(error), param_hint="--fixture") from None
    try:
        outcome = run_fixture(fixture, flow=flow_file)
    except (InvalidFlow, MalformedDocument) as error:
        problems = error.problems or (Problem(error.code, error.message),)
        text = "" if flow_file is None else flow_file.read_text(encoding="utf-8", errors="replace")
        print_findings(str(flow_file or fixture_file), problems, text, err=True)
        raise Exit(ERROR) from None
    _print(outcome)
    if outcome.differences:
        raise Exit(ERROR)


def _print(outcome: FixtureOutcome) -> None:
    if outcome.error is not None:
        note(f"{outcome.status}: {outcome.error['code']}: {outcome.error['message']}")
    print_json(outcome.output)
    for one in outcome.differences:
        note(_line(one))
    count = len(outcome.differences)
    note(f"{outcome.status}, as recorded" if not count else f"{count} difference{'s' if count > 1 else ''}")


def _line(one: FixtureDifference) -> str:
    where = "execution" if one.node is None else run_name(one.node, one.ordinal or 0, label=one.label)
    if one.what in {"missing", "extra"}:
        return f"{where}: {'ran in the fixture alone' if one.what == 'missing' else 'is not in the fixture'}"
    return f"{where}: {one.what}{one.pointer}: {_value(one.before)} → {_value(one.after)}"


def _value(value: object) -> str:
    return cut(encode_text(value), _SHOWN)
