"""Events reach every reader without gap or double, however slowly it reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure.base.clock import SystemClock
from perdure.engine import streams
from perdure.engine.hub import BUFFERED_CHUNKS
from perdure.engine.streams import execution_events
from tests.engine.opened import WORKSPACE, Bench, Opener

WORDY = (
    "id: wordy\ninput: {n: {type: array}}\nnodes:\n  a: {transform: '${item}', foreach: '${input.n}', parallel: 1}\n"
)


async def _read(bench: Bench, id: bytes, *, after: int = 0, held: asyncio.Event | None = None) -> list[int]:
    seen = []
    engine = bench.engine
    stream = execution_events(engine.store, engine.hub, workspace=WORKSPACE, execution_id=id, after_seq=after)
    async for batch in stream:
        seen += [item.seq for item in batch]
        if held is not None:
            await held.wait()
    return seen


async def test_a_reader_from_the_start_sees_all_events_and_the_stream_ends_with_the_execution(
    open_bench: Opener,
) -> None:
    bench = await open_bench()
    await bench.put(WORDY)
    id = await bench.start("wordy", {"n": list(range(50))})
    seen = await _read(bench, id)
    record = await bench.record(id)
    assert seen == list(range(1, record.last_seq + 1))


async def test_a_reader_that_fell_behind_reads_on_from_the_store(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(WORDY)
    id = await bench.start("wordy", {"n": list(range(2 * BUFFERED_CHUNKS))})
    held = asyncio.Event()
    reader = asyncio.create_task(_read(bench, id, held=held))
    await bench.ended(id)
    held.set()
    record = await bench.record(id)
    assert await reader == list(range(1, record.last_seq + 1))


async def test_reading_on_after_a_number_gives_what_comes_behind_it(open_bench: Opener) -> None:
    bench = await open_bench()
    await bench.put(WORDY)
    record = await bench.run("wordy", {"n": [1, 2, 3]})
    assert await _read(bench, record.id, after=4) == list(range(5, record.last_seq + 1))
    assert await _read(bench, record.id, after=record.last_seq) == []


async def test_what_was_tagged_after_the_end_is_read_wherever_a_page_ends(
    open_bench: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await open_bench()
    await bench.put(WORDY)
    before = await bench.run("wordy", {"n": [1, 2, 3]})
    await bench.engine.tag_execution(WORKSPACE, before.id, put={"a": "b"}, remove=[], by="ada")
    for page in (before.last_seq - 1, before.last_seq, before.last_seq + 1, before.last_seq + 2):
        monkeypatch.setattr(streams, "PAGE_EVENTS", page)
        assert await _read(bench, before.id) == list(range(1, before.last_seq + 2))


async def test_log_lines_arrive_while_the_node_runs(open_bench: Opener, tmp_path: Path) -> None:
    bench = await open_bench(clock=SystemClock())
    go = tmp_path / "go"
    await bench.put(
        f"id: chatty\nnodes:\n  say: {{shell: 'echo one; while [ ! -e {go} ]; do sleep 0.02; done; echo two'}}\n"
    )
    id = await bench.start("chatty")
    engine = bench.engine
    lines = []
    async for batch in execution_events(engine.store, engine.hub, workspace=WORKSPACE, execution_id=id):
        for item in batch:
            if item.event.type == "log" and item.event.data is not None:
                lines.append(item.event.data["message"])
                await asyncio.to_thread(go.touch)
    assert lines == ["one", "two"]
