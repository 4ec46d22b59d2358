"""From an event's commit to the readers of event streams: one reader, and a thousand."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import msgspec

from perdure.base.ids import id_bytes, id_text
from perdure.bench import flows
from perdure.bench.embedded import WORKSPACE, Embedded, embedded, in_this_process
from perdure.bench.figures import BenchFailed, Figure, RawLimit, Spread, Unit, spread
from perdure.bench.watchers import Task, Watched
from perdure.bench.workbench import Place, Workbench
from perdure.engine.hub import Hub
from perdure.model.event import EventChunk

_EVENTS_PER_STEP = 2
_EVENTS_PER_SECOND = 10
_HELD = 0.95
_STEP_MS = 1_000 * _EVENTS_PER_STEP // _EVENTS_PER_SECOND
_QUICK_STEP_MS = 10
_ENDS_WITHIN_S = 60.0


class Commits:
    """When each event was committed: the moment at which the recorder tells the hub, before any reader hears of it."""

    def __init__(self, hub: Hub) -> None:
        self.at_us: dict[tuple[bytes, int], int] = {}
        self._publish = hub.publish
        hub.publish = self._note  # type: ignore[method-assign]

    def _note(self, chunks: Iterable[EventChunk]) -> None:
        now = time.monotonic_ns() // 1000
        for chunk in chunks:
            for seq in range(chunk.first_seq, chunk.last_seq + 1):
                self.at_us[chunk.execution_id, seq] = now
        self._publish(chunks)


class Crowd:
    """The process of readers, which leaves what they got in a file: it may be more than a pipe takes at once."""

    def __init__(self, process: asyncio.subprocess.Process, result: Path) -> None:
        self._process = process
        self._result = result

    async def open(self, port: int, executions: dict[str, int]) -> None:
        """Return when so many streams of each execution are open."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        task = Task(port, executions, str(self._result))
        self._process.stdin.write(msgspec.json.encode(task) + b"\n")
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_ENDS_WITHIN_S):
                told = await self._process.stdout.readline()
        except TimeoutError:
            told = b""
        if told != b"open\n":
            raise BenchFailed("the readers could not open their streams")

    async def ended(self) -> list[Watched]:
        """What all readers got, when their streams have ended."""
        try:
            async with asyncio.timeout(_ENDS_WITHIN_S):
                status = await self._process.wait()
        except TimeoutError:
            raise BenchFailed("event streams did not end with their executions") from None
        if status:
            raise BenchFailed(f"the process of the readers ended before their streams did, with exit status {status}")
        return msgspec.json.decode(self._result.read_bytes(), type=list[Watched])


@asynccontextmanager
async def crowd() -> AsyncIterator[Crowd]:
    """A process of readers; it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "perdure.bench.watchers", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    with TemporaryDirectory(prefix="perdure-bench-") as folder:
        try:
            yield Crowd(process, Path(folder, "watched.json"))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def one_reader(bench: Workbench) -> list[Figure]:
    """One execution, quick steps, one reader in another process."""
    async with embedded(bench) as house:
        found = await _measure(
            house, _port(house),
            executions=1, readers=1, steps=bench.sizes.event_rounds, every_ms=_QUICK_STEP_MS, window_s=math.inf,
        )  # fmt: skip
    return [
        Figure(
            name="event commit → SSE client, p50",
            unit=Unit.MILLISECONDS,
            value=found.p50,
            budget=bench.budgets.event_latency_ms,
            raw=RawLimit("one bare HTTP request, p50", await _bare_ms(bench)),
            note=f"one reader, {found.count} events",
            details={"p99_ms": found.p99, "max_ms": found.max},
        )
    ]


async def from_another_process(bench: Workbench) -> list[Figure]:
    """The execution runs here, its reader asks a server in another process, which does no work itself."""
    async with bench.place("events") as place, in_this_process(place) as house:
        with bench.folder("api") as home:
            async with bench.serve(Place(home, place.store), options=("--no-worker",)) as server:
                await server.ready()
                found = await _measure(
                    house, server.port,
                    executions=1, readers=1, steps=bench.sizes.event_rounds, every_ms=_QUICK_STEP_MS, window_s=math.inf,
                )  # fmt: skip
    return [
        Figure(
            name="event commit → SSE client of another server, p50",
            unit=Unit.MILLISECONDS,
            value=found.p50,
            budget=bench.budgets.event_latency_ms,
            raw=RawLimit("one bare HTTP request, p50", await _bare_ms(bench)),
            note=f"one reader, {found.count} events",
            details={"p99_ms": found.p99, "max_ms": found.max},
        )
    ]


async def many_readers(bench: Workbench) -> list[Figure]:
    """All of them get ten events per second, and every one of them."""
    sizes = bench.sizes
    steps = math.ceil((2 * sizes.settling_s + sizes.stream_s) * 1000 / _STEP_MS)
    readers = sizes.subscribers // sizes.streamed_executions
    async with embedded(bench) as house:
        found = await _measure(
            house, _port(house),
            executions=sizes.streamed_executions, readers=readers, steps=steps, every_ms=_STEP_MS,
            settling_s=sizes.settling_s, window_s=sizes.stream_s,
        )  # fmt: skip
    subscribers = readers * sizes.streamed_executions
    rate = found.count / subscribers / sizes.stream_s
    held = "held" if rate >= _HELD * _EVENTS_PER_SECOND else "not held"
    return [
        Figure(
            name="event commit → SSE clients, p50",
            unit=Unit.MILLISECONDS,
            value=found.p50,
            budget=bench.budgets.event_latency_ms,
            raw=RawLimit("one bare HTTP request, p50", await _bare_ms(bench)),
            note=f"{subscribers:,} subscribers at {rate:.1f} of {_EVENTS_PER_SECOND} events/s each ({held}), none lost",
            details={
                "p99_ms": found.p99,
                "max_ms": found.max,
                "deliveries": found.count,
                "events_per_s_each": rate,
                "executions": sizes.streamed_executions,
            },
        )
    ]


async def _bare_ms(bench: Workbench) -> float:
    _, alone = await bench.raw.http()
    return spread(alone.latencies_us, scale=1e-3).p50


def _port(house: Embedded) -> int:
    port = urlsplit(house.url).port
    assert port is not None
    return port


async def _measure(
    house: Embedded,
    port: int,
    *,
    executions: int,
    readers: int,
    steps: int,
    every_ms: int,
    window_s: float,
    settling_s: float = 0.0,
) -> Spread:
    """Milliseconds from commit here to readers at the server on `port`.

    The executions tick once all streams are open. What counts was committed within `window_s`, from `settling_s` after
    that on.
    """
    async with crowd() as watching:
        commits = Commits(house.engine.hub)
        await house.put(flows.ticking())
        ids = []
        for n in range(executions):
            phase_ms = every_ms * n / executions
            input_ = {"items": list(range(steps)), "every_ms": every_ms, "phase_ms": phase_ms}
            ids.append((await house.start(flows.TICKING, input_)).id)
        await watching.open(port, {id_text(id_): readers for id_ in ids})
        answers = house.engine.answers
        for id_ in ids:
            await answers.signal(WORKSPACE, id_, name=flows.GO, payload=None, sender="bench")
        begins_us = time.monotonic_ns() // 1000 + settling_s * 1e6
        watched = await watching.ended()
        await _check_all_came(house, watched, executions * readers)
    latencies = []
    for one in watched:
        id_ = id_bytes(one.execution)
        for seq, at_us in zip(one.seqs, one.at_us, strict=True):
            committed_us = commits.at_us[id_, seq]
            if begins_us <= committed_us < begins_us + window_s * 1e6:
                latencies.append((at_us - committed_us) / 1000)
    if not latencies:
        raise BenchFailed(f"no event was committed from {settling_s} s on after the streams were open")
    return spread(latencies)


async def _check_all_came(house: Embedded, watched: list[Watched], expected: int) -> None:
    """Every reader got every event once and in order, and was told of the end."""
    if len(watched) != expected:
        raise BenchFailed(f"{len(watched)} of {expected} readers came back")
    last: dict[str, int] = {}
    for one in watched:
        if one.execution not in last:
            record = await house.engine.store.executions.get(WORKSPACE, id_bytes(one.execution))
            last[one.execution] = 0 if record is None else record.last_seq
        if one.seqs != list(range(1, last[one.execution] + 1)) or not one.ended:
            raise BenchFailed(
                f"a reader of {one.execution} got {len(one.seqs)} of {last[one.execution]} events, "
                f"the last of them {one.seqs[-1] if one.seqs else 0}"
            )
