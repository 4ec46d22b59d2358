"""Who waits for whom: pool processes, quarantine, slots; and when an attempt is said to have its place."""

import asyncio
import os
from pathlib import Path

import pytest

from perdure.model.definition import Isolation
from perdure.nodes.interface import NodeFailed
from tests.nodes.conftest import is_running, running_nodes

HOLD = """
def hold(path):
    print("begun")
    with open(path) as pipe:
        return pipe.read()
def touch():
    return "touched"
"""


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


async def release(pipe: Path) -> None:
    await asyncio.to_thread(pipe.write_text, "released")


async def test_quarantined_attempts_take_no_place_of_ordinary_ones(tmp_path: Path, pipe: Path) -> None:
    async with running_nodes(tmp_path, pool_size=1, quarantine_size=1) as nodes:
        nodes.module("places", HOLD)
        held, sink = nodes.start("python", "places:hold", with_={"path": str(pipe)}, quarantine=True)
        await sink.line("begun")
        assert await nodes.run("python", "places:touch") == "touched"
        second, second_sink = nodes.start("python", "places:touch", quarantine=True)
        await second_sink.waits()
        assert nodes.runtime.pool.describe()["quarantine"] == {"size": 1, "busy": 1, "waiting": 1}
        await release(pipe)
        assert await held == "released"
        assert await second == "touched"


async def test_quarantine_has_as_many_places_as_the_pool_unless_told(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, pool_size=3) as nodes:
        assert nodes.runtime.pool.describe()["quarantine"]["size"] == 3


async def test_an_attempt_has_its_place_once_its_process_is_up(tmp_path: Path, pipe: Path) -> None:
    async with running_nodes(tmp_path, pool_size=1) as nodes:
        nodes.module("places", HOLD)
        await nodes.run("python", "places:touch")
        held, sink = nodes.start("python", "places:hold", with_={"path": str(pipe)})
        await sink.line("begun")
        assert sink.is_placed
        second, second_sink = nodes.start("python", "places:touch")
        await second_sink.waits()
        assert nodes.runtime.pool.describe()["waiting"] == 1
        await release(pipe)
        await asyncio.gather(held, second)
        assert second_sink.is_placed


@pytest.mark.parametrize("type_name", ["shell", "python"])
async def test_slots_tell_when_an_attempt_has_one(tmp_path: Path, pipe: Path, type_name: str) -> None:
    async with running_nodes(tmp_path, shell_processes=1, threads=1) as nodes:
        nodes.module("places", HOLD)
        config = "places:hold" if type_name == "python" else 'echo begun; cat "$path"'
        given = {"with_": {"path": str(pipe)}} if type_name == "python" else {"env": {"path": str(pipe)}}
        held, sink = nodes.start(type_name, config, isolation=Isolation.THREAD, **given)
        await sink.line("begun")
        assert sink.is_placed
        second, second_sink = nodes.start(
            type_name, "places:touch" if type_name == "python" else "true", isolation=Isolation.THREAD
        )
        await second_sink.waits()
        slots = nodes.runtime.thread_slots if type_name == "python" else nodes.runtime.shell_slots
        assert slots.waiting == 1
        await release(pipe)
        await asyncio.gather(held, second)
        assert second_sink.is_placed


HANGS = """
import os, threading
with open({path!r}, "w") as pipe:
    pipe.write(str(os.getpid()))
threading.Event().wait()
"""


async def test_an_import_that_hangs_holds_up_no_other_and_ends_with_its_attempt(tmp_path: Path, pipe: Path) -> None:
    async with running_nodes(tmp_path, pool_size=1) as nodes:
        nodes.module("places", HOLD)
        nodes.module("hangs", HANGS.format(path=str(pipe)))
        held, _ = nodes.start("python", "hangs:never")
        second, _ = nodes.start("python", "hangs:never")
        pid = int(await asyncio.to_thread(pipe.read_text))
        async with asyncio.timeout(20):
            assert await nodes.run("python", "places:touch") == "touched"
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        assert is_running(pid)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not is_running(pid)


async def test_an_import_that_takes_too_long_fails_the_attempt_and_is_dead(tmp_path: Path, pipe: Path) -> None:
    async with running_nodes(tmp_path, pool_size=1, import_s=0.3) as nodes:
        nodes.module("hangs", HANGS.format(path=str(pipe)))
        held, _ = nodes.start("python", "hangs:never")
        pid = int(await asyncio.to_thread(pipe.read_text))
        with pytest.raises(NodeFailed, match=r"not imported within 0\.3 s") as caught:
            async with asyncio.timeout(20):
                await held
        assert caught.value.failure.code == "import_timeout"
        assert not is_running(pid)
