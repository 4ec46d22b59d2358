"""Flow folders and what becomes of flows whose files go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from perdure.base.manual_clock import ManualClock
from perdure.errors import FlowNotFound, StoreUnavailable
from perdure.model.states import ExecutionStatus
from tests.engine.opened import WORKSPACE, Bench, opened

NAP = "id: nap\nnodes:\n  nap: {sleep: 1h}\n"


async def _gone(bench: Bench, flow: str) -> None:
    while await bench.engine.store.flows.get(WORKSPACE, flow) is not None:
        await bench.engine.folders.work()
        await asyncio.sleep(0)


async def test_a_flow_whose_file_went_while_no_server_ran_is_dropped_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "nap.yaml").write_text(NAP)
    async with opened(tmp_path, ManualClock(), flow_folders=[folder]) as bench:
        assert (await bench.engine.catalog.program(WORKSPACE, "default/nap"))[0] == 1
    (folder / "nap.yaml").unlink()
    async with opened(tmp_path, ManualClock(), flow_folders=[folder]) as bench:
        with pytest.raises(FlowNotFound):
            await bench.engine.catalog.program(WORKSPACE, "default/nap")


async def test_a_flow_in_use_goes_when_its_executions_have_ended(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "nap.yaml").write_text(NAP)
    clock = ManualClock()
    async with opened(tmp_path, clock, flow_folders=[folder]) as bench:
        id = await bench.start("nap")
        await bench.until(id, lambda record: record.status is ExecutionStatus.SUSPENDED)
    (folder / "nap.yaml").unlink()
    async with opened(tmp_path, clock, flow_folders=[folder]) as bench:
        assert (await bench.engine.catalog.program(WORKSPACE, "default/nap"))[0] == 1
        assert (await bench.ended(id)).status is ExecutionStatus.COMPLETED
        async with asyncio.timeout(10):
            await _gone(bench, "default/nap")


async def test_a_folder_that_is_missing_or_a_file_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "nap.yaml"
    file.write_text(NAP)
    with capture_logs() as lines:
        async with opened(tmp_path, ManualClock(), flow_folders=[file, tmp_path / "flwos"]):
            pass
    warnings = {line["path"]: line["event"] for line in lines if line["log_level"] == "warning"}
    assert warnings[str(file)] == "flow folder is a file; name the folder that it is in"
    assert warnings[str(tmp_path / "flwos")].startswith("flow folder is not there yet")


async def test_an_unknown_flow_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock()) as bench:
        await bench.put(NAP)
        with pytest.raises(FlowNotFound, match="no flow 'default/npa'; did you mean 'default/nap'"):
            await bench.engine.catalog.program(WORKSPACE, "default/npa")
        with pytest.raises(FlowNotFound, match="no flow 'naps/nap'; did you mean 'default/nap'"):
            await bench.engine.catalog.program(WORKSPACE, "naps/nap")


async def test_a_flow_whose_function_is_missing_is_loaded_with_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "calls.yaml").write_text("id: calls\nnodes:\n  a: {python: 'beside:run'}\n  b: {python: 'beside:walk'}\n")
    (folder / "beside.py").write_text("raise SystemExit('imported')\ndef run(): ...\n")
    with capture_logs() as lines:
        async with opened(tmp_path, ManualClock(), flow_folders=[folder]) as bench:
            assert (await bench.engine.catalog.program(WORKSPACE, "default/calls"))[0] == 1
            assert bench.engine.folders.sources[0].broken == {}
    [place] = [line["place"] for line in lines if line["log_level"] == "warning"]
    assert place.startswith(f"{folder}/calls.yaml:4:15: 'beside' ({folder}/beside.py) has no 'walk'")


async def test_what_changed_in_a_folder_while_the_store_was_away_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "nap.yaml").write_text(NAP)
    async with opened(tmp_path, ManualClock(), flow_folders=[folder]) as bench, asyncio.timeout(30):
        catalog = bench.engine.catalog
        put, asked = catalog.put, asyncio.Event()

        async def away(*_: object, **__: object) -> None:
            asked.set()
            raise StoreUnavailable("the store is away")

        async def take(*parts: Any, **more: Any) -> tuple[str, int, bool]:
            taken = await put(*parts, **more)
            asked.set()
            return taken

        with monkeypatch.context() as outage:
            outage.setattr(catalog, "put", away)
            outage.setattr(catalog, "delete", away)
            (folder / "doze.yaml").write_text(NAP.replace("id: nap", "id: doze"))
            await asked.wait()
            asked.clear()
            (folder / "nap.yaml").unlink()
            await asked.wait()
        await _gone(bench, "default/nap")
        assert (await catalog.program(WORKSPACE, "default/doze"))[0] == 1
        assert not any(source.broken for source in bench.engine.folders.sources)
        # And it is watched still.
        monkeypatch.setattr(catalog, "put", take)
        asked.clear()
        (folder / "snooze.yaml").write_text(NAP.replace("id: nap", "id: snooze"))
        await asked.wait()
        assert (await catalog.program(WORKSPACE, "default/snooze"))[0] == 1
