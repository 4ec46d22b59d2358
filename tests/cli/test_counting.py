"""`perdure execution stats`."""

import json
from uuid import uuid4

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def counted(command: Command) -> str:
    """A tag that two completed and one failed execution have, and no other."""
    tag = f"counted={uuid4()}"
    for start in (["tests/endings", "-i", "how=fail"], ["tests/greet"], ["tests/greet"]):
        command("execution", "start", *start, "--tag", tag, "--wait")
    return tag


def test_counts_by_group(command: Command, counted: str) -> None:
    printed = command("execution", "stats", "--tag", counted)
    assert printed.code == 0
    assert [line.split() for line in printed.lines] == [["STATUS", "COUNT"], ["completed", "2"], ["failed", "1"]]
    rows = json.loads(
        command("execution", "stats", "--tag", counted, "--by", "flow", "--by", "status", "-o", "json").out
    )
    assert rows == {
        "data": [
            {"flow": "tests/endings", "status": "failed", "count": 1},
            {"flow": "tests/greet", "status": "completed", "count": 2},
        ],
        "exact": True,
    }
    assert command("execution", "stats", "--tag", counted, "-o", "name").out == "3\n"
    assert command("execution", "stats", "--tag", counted, "--tag", "counted", "-o", "name").out == "3\n"
    by_key = command("execution", "list", "--tag", "counted", "--all", "-o", "name").lines
    assert {*command("execution", "list", "--tag", counted, "-o", "name").lines} <= {*by_key}
    assert command("execution", "list", "--tag", "uncounted", "-o", "name").out == ""


@pytest.mark.usefixtures("counted")
def test_hours_have_a_rate_and_durations_percentiles(command: Command) -> None:
    [titles, *rows] = command("execution", "stats", "--by", "hour", "--durations", "--after", "1h").lines
    assert titles.split() == ["HOUR", "COUNT", "PER", "SECOND", "P50", "P95", "P99"]
    assert len(rows) in {1, 2}


def test_what_is_wrong_is_told(command: Command) -> None:
    assert command("execution", "stats", "--by", "colour").code == 2
    wrong = command("execution", "stats", *(part for by in ("flow", "status", "hour", "day") for part in ("--by", by)))
    assert (wrong.code, "group_by" in wrong.err) == (1, True)
    nothing = command("execution", "stats", "--flow", "tests/nowhere")
    assert (nothing.code, nothing.out) == (0, "")
