"""A store that does not answer for a while, or is full, delays executions, and fails none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure.base.clock import SECOND
from perdure.base.codec import INLINE_LIMIT
from perdure.base.manual_clock import ManualClock
from perdure.errors import StoreDamaged, StoreError, StoreFull, StoreUnavailable
from perdure.model.answer import Responder
from perdure.model.states import ExecutionStatus
from tests.engine.opened import WORKSPACE, Bench, Opener, opened

ECHO = "id: echo\ninput: {text: {type: string}}\nnodes:\n  e: {transform: '${input.text}'}\noutput: '${nodes.e.output}'"
LARGE = "x" * (INLINE_LIMIT + 1)
AWAY = StoreUnavailable("the storage is away")
FULL = StoreFull("there is no space left")


class Outage:
    """Reads or writes of large values fail so many times, `after` some that did not."""

    def __init__(
        self,
        bench: Bench,
        monkeypatch: pytest.MonkeyPatch,
        *,
        of: str,
        times: int = 2,
        after: int = 0,
        trouble: StoreError = AWAY,
    ) -> None:
        self.left = times
        self._trouble = trouble
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
            raise self._trouble
        return await self._real(*arguments)


OF_NODE = "nodes:\n  a: {transform: '${input.text}'}\noutput: '${nodes.a.output}'"
OF_FLOW = "nodes:\n  a: {transform: 1}\noutput: '${input.text}'"
OF_CHILD = "nodes:\n  a: {flow: {flow: echo}, with: {text: '${input.text}'}}\noutput: '${nodes.a.output}'"


@pytest.mark.parametrize(
    ("flow", "trouble"),
    [
        pytest.param(OF_NODE, AWAY, id="output of a node, away"),
        pytest.param(OF_FLOW, AWAY, id="output of the flow, away"),
        pytest.param(OF_FLOW, FULL, id="output of the flow, full"),
        pytest.param(OF_CHILD, AWAY, id="input of a child, away"),
        pytest.param(OF_CHILD, FULL, id="input of a child, full"),
    ],
)
async def test_a_large_value_is_stored_as_soon_as_that_is_possible(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch, flow: str, trouble: StoreError
) -> None:
    bench = await open_bench()
    await bench.put(ECHO)
    await bench.put(f"id: main\ninput: {{text: {{type: string}}}}\n{flow}")
    outage = Outage(bench, monkeypatch, of="put_bytes", after=1, trouble=trouble)
    id = await bench.start("main", {"text": LARGE})
    record = await bench.ended(id)
    assert outage.left == 0
    assert record.status is ExecutionStatus.COMPLETED, (await bench.payload(id)).error
    assert await bench.output(id) == LARGE


async def test_an_output_that_there_is_no_room_for_fails_its_node_which_says_so(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await open_bench()
    await bench.put(f"id: main\ninput: {{text: {{type: string}}}}\n{OF_NODE}")
    Outage(bench, monkeypatch, of="put_bytes", times=1, after=1, trouble=FULL)
    id = await bench.start("main", {"text": LARGE})
    assert (await bench.ended(id)).status is ExecutionStatus.FAILED
    error = (await bench.payload(id)).error
    assert error is not None
    assert FULL.message in error["message"], error


async def test_what_the_engine_did_not_expect_at_the_end_costs_the_owner_and_not_the_execution(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await open_bench()
    await bench.put("id: main\ninput: {text: {type: string}}\nnodes:\n  a: {transform: 1}\noutput: '${input.text}'")
    Outage(bench, monkeypatch, of="put_bytes", times=1, after=1, trouble=StoreDamaged("it is broken"))
    id = await bench.start("main", {"text": LARGE})
    record = await bench.ended(id)
    assert (record.status, record.recoveries) == (ExecutionStatus.COMPLETED, 1)
    assert ("execution.interrupted", None) in await bench.events(id)


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


ASKING = """
id: asking
input: {file: {type: string}}
nodes:
  a: {ask: {message: how?}}
  after: {transform: 1, needs: [a]}
  b:
    shell: 'echo ran >> "$F"; test "$(wc -l < "$F")" -gt 1'
    env: {F: '${input.file}'}
    retry: {attempts: 2, backoff: 20s}
"""


async def answer_largely(bench: Bench, id: bytes) -> None:
    """As large as an answer may be: with who gave it and when, it is too large to stand in a row."""
    await bench.engine.answers.respond(
        WORKSPACE, id, responder=Responder(name="ada"), wait=None, approved=None, answer="x" * (INLINE_LIMIT - 2),
        has_answer=True, comment=None,
    )  # fmt: skip


@pytest.mark.parametrize("trouble", [pytest.param(AWAY, id="away"), pytest.param(FULL, id="full")])
async def test_a_large_answer_is_taken_as_soon_as_it_can_be_stored_though_others_still_run(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch, trouble: StoreError
) -> None:
    bench = await open_bench()
    await bench.put(
        "id: busy\nnodes:\n  a: {ask: {message: how?}}\n  after: {transform: 1, needs: [a]}\n  b: {shell: 'sleep 60'}\n"
    )
    id = await bench.start("busy")
    with bench.engine.hub.subscribe(id) as subscription:
        while ("node.suspended", "a") not in await bench.events(id):
            await asyncio.wait_for(subscription.wait(), 20)
            subscription.take()
        outage = Outage(bench, monkeypatch, of="put_bytes", trouble=trouble)
        await answer_largely(bench, id)
        while ("node.completed", "after") not in await bench.events(id):
            await asyncio.wait_for(subscription.wait(), 20)
            subscription.take()
    assert outage.left == 0
    await bench.engine.cancel_executions(WORKSPACE, [id], force=True)
    await bench.ended(id)


async def test_a_large_answer_that_cannot_be_stored_yet_makes_no_second_owner_and_holds_up_nobody(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = ManualClock()
    bench = await open_bench(clock=clock)
    await bench.put(ECHO)
    await bench.put(ASKING)
    file = tmp_path / "ran"
    id = await bench.start("asking", {"file": str(file)})
    await bench.until(id, lambda record: record.status is ExecutionStatus.RUNNING)
    with bench.engine.hub.subscribe(id) as subscription:
        while ("node.retrying", "b") not in await bench.events(id):
            await asyncio.wait_for(subscription.wait(), 20)
            subscription.take()
    while (await bench.record(id)).status is not ExecutionStatus.SUSPENDED:
        bench.clock.advance(SECOND)  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    outage = Outage(bench, monkeypatch, of="put_bytes", times=3)
    await answer_largely(bench, id)
    await asyncio.wait_for(outage.noticed.wait(), 20)
    other = await bench.start("echo", {"text": "small"}, start_at=clock.now() + 1)
    assert (await bench.ended(other)).status is ExecutionStatus.COMPLETED
    assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED
    assert file.read_text() == "ran\n" * 2
