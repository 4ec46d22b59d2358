"""The sync client is made from the async one, and behaves like it."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
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


def test_a_stream_that_is_left_open_ends_with_its_portal() -> None:
    closed: list[bool] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    portal = Portal()
    found = portal.iterate(numbers())
    assert next(found) == 1
    portal.close()
    assert closed == [True]
    found.close()  # type: ignore[attr-defined]


def test_generators_inside_one_that_is_left_open_end_too() -> None:
    closed: list[str] = []

    async def innermost() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("innermost")

    async def inner() -> AsyncIterator[int]:
        try:
            async for number in innermost():
                yield number
        finally:
            await asyncio.sleep(0)
            closed.append("inner")

    async def outer() -> AsyncIterator[int]:
        async for number in inner():
            yield number

    portal = Portal()
    found = portal.iterate(outer())
    assert next(found) == 1
    portal.close()
    assert closed == ["inner", "innermost"]


def test_closing_ends_what_another_thread_waits_for() -> None:
    begun = threading.Event()

    async def never() -> AsyncIterator[int]:
        begun.set()
        await asyncio.Event().wait()
        yield 1

    portal = Portal()
    ends: list[type[BaseException]] = []

    def read() -> None:
        try:
            next(portal.iterate(never()))
        except BaseException as error:
            ends.append(type(error))

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(10)
    portal.close()
    reader.join(10)
    assert ends == [CancelledError]


def test_a_portal_may_be_closed_twice() -> None:
    portal = Portal()
    portal.close()
    portal.close()


def test_what_is_asked_of_a_closed_portal_is_told_so() -> None:
    """And what was never begun raises no warning, which pytest would take for an error."""
    portal = Portal()
    portal.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the client is closed"):
            portal.call(asyncio.sleep(0))
