"""The same data in every format, on stdout alone."""

import json
from collections.abc import AsyncIterator

import pytest
import yaml

from perdure.base.clock import to_rfc3339
from perdure.cli.lines import event_line
from perdure.cli.output import Column, age, note, print_list, print_one, short_duration, size
from perdure.wire.events import Event
from tests.cli.facts import event
from tests.client.clocks import NOON, FixedClock

COLUMNS = (Column("SEQ", lambda e: str(e.seq)), Column("TYPE", lambda e: e.type, is_status=True))


async def printed(output: str, capsys: pytest.CaptureFixture[str], count: int = 2) -> str:
    async def source() -> AsyncIterator[Event]:
        for seq in range(1, count + 1):
            yield event(seq, "log", message="ü")

    await print_list(source(), COLUMNS, output, name=lambda e: str(e.seq), empty="nothing there")
    return capsys.readouterr().out


async def test_formats_of_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert await printed("table", capsys) == "SEQ  TYPE\n1    log\n2    log\n"
    assert await printed("name", capsys) == "1\n2\n"
    assert [entry["seq"] for entry in json.loads(await printed("json", capsys))] == [1, 2]
    assert [json.loads(line)["seq"] for line in (await printed("jsonl", capsys)).splitlines()] == [1, 2]
    assert [entry["data"] for entry in yaml.safe_load(await printed("yaml", capsys))] == [{"message": "ü"}] * 2


async def test_an_empty_list_says_so_beside_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    async def nothing() -> AsyncIterator[object]:
        return
        yield

    await print_list(nothing(), COLUMNS, "table", name=str, empty="nothing there")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nothing there\n")
    assert json.loads(await printed("json", capsys, count=0)) == []


def test_formats_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    for output in ("table", "json", "jsonl", "yaml", "name"):
        print_one(event(1, "log"), output, name=lambda e: e.execution, card=lambda e: {"seq": "1", "text": "a\nb"})
    text = capsys.readouterr().out
    assert text.startswith("seq:  1\ntext: a\n      b\n{\n")


ODD = "one\ntwo\r\n\x1b]0;title\x07\x9b31m"
"""Lines, and what a terminal would obey."""
TAMED = "one two  \\x1b]0;title\\x07\\x9b31m"


async def test_a_row_is_one_line_and_no_text_of_others_moves_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    async def source() -> AsyncIterator[str]:
        yield ODD

    columns = (Column("WHAT", lambda text: text), Column("NEXT", lambda _: "x"))
    await print_list(source(), columns, "table", name=str, empty="")
    assert capsys.readouterr().out.splitlines()[1] == f"{TAMED}  x"
    print_one(ODD, "table", name=str, card=lambda text: {"what": text})
    assert capsys.readouterr().out.splitlines() == ["what: one", "      two", "      \\x1b]0;title\\x07\\x9b31m"]


def test_what_is_said_beside_the_data_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    note("failed: \x1b[2Jboom\n\tlook at it")
    assert capsys.readouterr().err == "failed: \\x1b[2Jboom\n\tlook at it\n"


def test_an_event_is_one_line_whatever_its_reason_holds() -> None:
    cancelled = event(3, "execution.cancelled", reason=ODD)
    assert event_line(cancelled).endswith(f"cancelled  reason={TAMED}")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.85, "850ms"), (4.25, "4.2s"), (59, "59s"), (192, "3m12s"), (7512, "2h5m"), (443_000, "5d3h")],
)
def test_durations_take_two_units_at_most(seconds: float, text: str) -> None:
    assert short_duration(seconds) == text


def test_ages() -> None:
    assert age(to_rfc3339(NOON - 192_000_000), FixedClock()) == "3m12s"
    assert age(to_rfc3339(NOON + 60_000_000), FixedClock()) == "in 1m"
    assert age(None) == "–"


def test_sizes() -> None:
    assert [size(512), size(1536), size(5 * 1024**2), size(3 * 1024**3)] == ["512 B", "1.5 KiB", "5.0 MiB", "3.0 GiB"]
