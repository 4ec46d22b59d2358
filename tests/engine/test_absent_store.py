"""A store that does not answer for a while delays executions, and fails none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure.base.clock import SECOND
from perdure.base.codec import INLINE_LIMIT
from perdure.base.manual_clock import ManualClock
from perdure.errors import StoreUnavailable
from perdure.model.states import ExecutionStatus
from tests.engine.opened import Bench, Opener, opened

ECHO = "id: echo\ninput: {text: {type: string}}\nnodes:\n  e: {transform: '${input.text}'}\noutput: '${nodes.e.output}'"
LARGE = "x" * (INLINE_LIMIT + 1)


class Outage:
    """Reads or writes of large values fail so many times, `after` some that did not."""

    def __init__(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, *, of: str, times: int = 2, after: int = 0
    ) -> None:
        self.left = times
        self._after = after
        self.noticed = asyncio.Event()
        storage = bench.engine.runtime.storage
        self._real: Callable[..., Any] = getattr(storage, of)
        monkeypatch.setattr(storage, of, self._call)

    async def _call(self, *arguments: Any) -> Any:
        self._after -= 1
        if self._after < 0 < self.left:
            self.left -= 1
            self.noticed.set()
            raise StoreUnavailable("the storage is away")
        return await self._real(*arguments)


@pytest.mark.parametrize(
    "flow",
    [
        pytest.param("nodes:\n  a: {transform: '${input.text}'}\noutput: '${nodes.a.output}'", id="output of a node"),
        pytest.param("nodes:\n  a: {transform: 1}\noutput: '${input.text}'", id="output of the flow"),
        pytest.param(
            "nodes:\n  a: {flow: {flow: echo}, with: {text: '${input.text}'}}\noutput: '${nodes.a.output}'",
            id="input of a child",
        ),
    ],
)
async def test_a_large_value_is_stored_as_soon_as_that_is_possible(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    bench = await open_bench()
    await bench.put(ECHO)
    await bench.put(f"id: main\ninput: {{text: {{type: string}}}}\n{flow}")
    outage = Outage(bench, monkeypatch, of="put_bytes", after=1)
    id = await bench.start("main", {"text": LARGE})
    record = await bench.ended(id)
    assert outage.left == 0
    assert record.status is ExecutionStatus.COMPLETED, (await bench.payload(id)).error
    assert await bench.output(id) == LARGE


async def test_what_a_child_said_is_read_as_soon_as_that_is_possible(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await open_bench()
    await bench.put(f"id: big\nnodes:\n  e: {{transform: '{LARGE}'}}\noutput: '${{nodes.e.output}}'")
    await bench.put("id: main\nnodes:\n  a: {flow: {flow: big}}\noutput: '${nodes.a.output}'")
    outage = Outage(bench, monkeypatch, of="read", times=2)
    id = await bench.start("main")
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED
    assert outage.left == 0
    assert await bench.output(id) == LARGE


async def test_what_cannot_be_read_yet_is_taken_up_later_and_holds_up_nobody(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    bench = await open_bench(clock=clock, slots=2)
    await bench.put(ECHO)
    outage = Outage(bench, monkeypatch, of="read", times=1_000_000)
    due = clock.now() + SECOND
    large, small = [await bench.start("echo", {"text": text}, start_at=due) for text in (LARGE, "small")]
    assert (await bench.ended(small)).status is ExecutionStatus.COMPLETED
    await asyncio.wait_for(outage.noticed.wait(), 20)
    assert (await bench.record(large)).status is ExecutionStatus.RUNNING
    outage.left = 0
    assert (await bench.ended(large)).status is ExecutionStatus.COMPLETED
    assert await bench.output(large) == LARGE


async def test_who_drains_leaves_what_he_could_not_read_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as bench:
        await bench.put(ECHO)
        outage = Outage(bench, monkeypatch, of="read", times=1_000_000)
        large = await bench.start("echo", {"text": LARGE}, start_at=clock.now() + SECOND)
        bench.skip()
        await asyncio.wait_for(outage.noticed.wait(), 20)
    async with opened(tmp_path, clock) as bench:
        assert (await bench.ended(large)).status is ExecutionStatus.COMPLETED
