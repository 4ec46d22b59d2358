"""The sync client is made from the async one, and behaves like it."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure.client.portal import Portal

ROOT = Path(__file__).parents[2]


def test_the_generated_module_is_up_to_date() -> None:
    script = ROOT / "scripts" / "generate_sync_client.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert done.returncode == 0, "run make docs"


@pytest.fixture
def portal():
    portal = Portal()
    yield portal
    portal.close()


def test_a_call_returns_or_raises_what_the_async_one_does(portal: Portal) -> None:
    async def double(number: int) -> int:
        return 2 * number

    async def fail() -> None:
        raise LookupError("no")

    assert portal.call(double(21)) == 42
    with pytest.raises(LookupError, match="no"):
        portal.call(fail())


def test_a_stream_is_read_as_it_is_asked_for_and_closed_when_left(portal: Portal) -> None:
    made: list[int] = []
    closed: list[bool] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(100):
                made.append(number)
                yield number
        finally:
            closed.append(True)

    found = portal.iterate(numbers())
    assert [next(found), next(found)] == [0, 1]
    assert made == [0, 1]
    found.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert list(portal.iterate(numbers())) == list(range(100))


def test_a_portal_may_be_closed_twice() -> None:
    portal = Portal()
    portal.close()
    portal.close()
