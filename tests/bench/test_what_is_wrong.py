"""A bench that finds something wrong says so, instead of measuring it."""

from pathlib import Path

import pytest

from perdure.bench.figures import BenchFailed
from perdure.bench.flows import LEDGER_STEPS
from perdure.bench.http_load import make_load, request_bytes
from perdure.bench.processes import bare_server
from perdure.bench.recovery import Ledger, Mark, check_steps

EXECUTION = "0199f0a2-0000-7000-8000-000000000000"
ALL = range(LEDGER_STEPS)


def marks(pid: int, steps: list[int] | range) -> list[Mark]:
    return [Mark(pid, EXECUTION, step, pid * 1_000 + step) for step in steps]


def test_a_step_that_was_in_flight_may_run_again() -> None:
    assert check_steps([EXECUTION], marks(1, range(4)), marks(2, ALL[3:])) == 1


def test_a_step_that_was_acknowledged_must_not_run_again() -> None:
    with pytest.raises(BenchFailed, match=r"step 2 of .* was acknowledged"):
        check_steps([EXECUTION], marks(1, range(4)), marks(2, ALL[2:]))


def test_a_step_that_never_ran_is_found() -> None:
    with pytest.raises(BenchFailed, match=r"step 4 of .* never ran"):
        check_steps([EXECUTION], marks(1, range(4)), marks(2, [3, *ALL[5:]]))


def test_an_execution_that_never_came_back_is_found() -> None:
    with pytest.raises(BenchFailed, match="never ran"):
        check_steps([EXECUTION, "another"], marks(1, range(4)), marks(2, ALL[3:]))


def test_one_kill_repeats_a_step_once() -> None:
    with pytest.raises(BenchFailed, match="more than twice"):
        check_steps([EXECUTION], marks(1, range(4)), marks(2, [3, *ALL[3:]]))


def test_a_ledger_line_counts_when_it_is_whole(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    assert ledger.read_on() == []
    ledger.path.write_text("7 one 0 100\n7 two 0 ")
    assert ledger.read_on() == [Mark(7, "one", 0, 100)]
    ledger.path.write_text("7 one 0 100\n7 two 0 105\n")
    assert ledger.read_on()[1:] == [Mark(7, "two", 0, 105)]


async def test_load_stops_at_an_answer_that_is_not_the_expected_one(tmp_path: Path) -> None:
    async with bare_server(bytecode=tmp_path) as server:
        with pytest.raises(BenchFailed, match="HTTP 404"):
            await make_load(
                server.port, request_bytes("POST", "/nowhere", body=b"{}"), expect=b"", in_flight=1, seconds=1
            )
        with pytest.raises(BenchFailed, match="instead of 200 with b'failed'"):
            await make_load(
                server.port, request_bytes("POST", "/", body=b"{}"), expect=b"failed", in_flight=1, seconds=1
            )
        load = await make_load(
            server.port, request_bytes("POST", "/", body=b"{}"), expect=b"completed", in_flight=2, seconds=0.05
        )

    assert load.answers == len(load.latencies_us) > 0
