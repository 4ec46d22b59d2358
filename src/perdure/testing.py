"""Testing flows without a server: an execution that was exported as a fixture is run again, from its recorded results.

from perdure.testing import run_fixture

def test_the_digest_comes_out_as_it_did():
    outcome = run_fixture("digest-17.json", flow="flows/digest.yaml")
    assert outcome.differences == []
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from perdure.base.codec import Json, encode
from perdure.base.texts import cut
from perdure.engine.engine import Engine
from perdure.engine.node_runs import every_run
from perdure.engine.rehearsal import FixtureDifference, StandIn, compared
from perdure.engine.requests import ReplayRequest, StartRequest
from perdure.errors import MalformedDocument
from perdure.local import local_engine
from perdure.settings import ServerSettings
from perdure.store.records import NodeRunRecord
from perdure.wire.failure import Failure
from perdure.wire.fixtures import FORMAT, Fixture, FixtureRun

__all__ = ["Fixture", "FixtureDifference", "FixtureOutcome", "load_fixture", "run_fixture", "run_fixture_async"]

WORKSPACE = "default"
_LOOK_US = 60_000_000
_PLACEHOLDER = "***"
"""A secret's value, as it is recorded too: what is called with one is called with the same."""
_SECRET = re.compile(r"\bsecrets\.([A-Za-z_]\w*)")


class FixtureOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the execution came to, and how that and each node run differ from the fixture."""

    status: str
    output: Json
    error: Mapping[str, Any] | None
    differences: list[FixtureDifference]


def load_fixture(path: str | Path) -> Fixture:
    """Raises OSError, and `MalformedDocument` for what is no fixture of a known format."""
    data = Path(path).read_bytes()
    try:
        return msgspec.json.decode(data, type=Fixture)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedDocument(f"{path} is no fixture of the format {FORMAT}: {cut(str(error), 200)}") from None


def run_fixture(fixture: Fixture | str | Path, *, flow: str | Path | None = None) -> FixtureOutcome:
    """Run a fixture's flow again, nodes with side effects answered from the fixture.

    Args:
        fixture: it, or the file that holds it.
        flow: the file with the definition to run (YAML, or JSON by its name); None is the fixture's own.

    Raises `InvalidFlow`, `InvalidInput` and the like; RuntimeError inside a running event loop (await
    `run_fixture_async` there).
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_fixture_async(fixture, flow=flow))


async def run_fixture_async(fixture: Fixture | str | Path, *, flow: str | Path | None = None) -> FixtureOutcome:
    """As `run_fixture`."""
    if not isinstance(fixture, Fixture):
        fixture = await asyncio.to_thread(load_fixture, fixture)
    document, media_type = encode(fixture.definition), "application/json"
    if flow is not None:
        path = Path(flow)
        document = await asyncio.to_thread(path.read_bytes)
        media_type = "application/json" if path.suffix == ".json" else "application/yaml"
    secrets = dict.fromkeys(_SECRET.findall(document.decode(errors="replace")), _PLACEHOLDER)
    with tempfile.TemporaryDirectory(prefix="perdure-fixture-") as home:
        settings = ServerSettings(home=Path(home), pool_size=1)
        async with local_engine(settings, secrets=secrets, stand_in=StandIn(fixture)) as engine:
            return await _run(engine, fixture, document, media_type)


async def _run(engine: Engine, fixture: Fixture, document: bytes, media_type: str) -> FixtureOutcome:
    flow, version, _ = await engine.catalog.put(WORKSPACE, document, media_type=media_type)
    trigger = fixture.execution.trigger
    request = StartRequest(
        workspace=WORKSPACE, flow=flow, version=version, input=fixture.input, tags=fixture.execution.tags,
        trigger_kind=trigger.kind, trigger_id=trigger.id, trigger_context=trigger.context,
    )  # fmt: skip
    edited = await _edited(engine, fixture, flow, version)
    id_ = await _started(engine, request) if not edited else await _replayed(engine, request, edited)
    engine.claim_family(id_)
    while not await engine.wait_ended(WORKSPACE, id_, _LOOK_US):
        pass
    found = await engine.store.executions.whole(WORKSPACE, id_)
    assert found is not None
    record, payload = found
    output = await engine.values.load(payload.output)
    outcome = {"status": str(record.status), "output": output, "error": payload.error}
    runs = [await _told(engine, run) async for run in every_run(engine.store.node_runs, WORKSPACE, id_)]
    return FixtureOutcome(
        status=str(record.status),
        output=output,
        error=payload.error,
        differences=compared(fixture, runs, outcome),
    )


async def _edited(engine: Engine, fixture: Fixture, flow: str, version: int) -> dict[str, Json]:
    """What somebody had put in the place of nodes' results, of those that the flow has still."""
    _, program = await engine.catalog.program(WORKSPACE, flow, version)
    found: dict[str, Json] = {}
    for run in fixture.runs:
        spec = program.flow.nodes.get(run.node) if run.edited else None
        if spec is not None and (spec.foreach is None or isinstance(run.output, list)):
            found[run.node] = run.output
    return found


async def _started(engine: Engine, request: StartRequest) -> bytes:
    (started,) = await engine.start_executions([request])
    if isinstance(started, Exception):
        raise started
    return started.id


async def _replayed(engine: Engine, request: StartRequest, outputs: dict[str, Json]) -> bytes:
    """As a replay with these outputs, of an execution that never began: of a version without limits, input and effects."""
    empty = encode({"id": request.flow, "nodes": {"nothing": {"transform": None}}})
    _, version, _ = await engine.catalog.put(WORKSPACE, empty, media_type="application/json")
    original = await _started(engine, msgspec.structs.replace(request, version=version, input={}))
    await engine.cancel_executions(WORKSPACE, [original])
    replay = ReplayRequest(
        workspace=WORKSPACE, id=original, input=request.input, outputs=outputs, version=request.version or "latest",
        asked_by=request.trigger_id,
    )  # fmt: skip
    (started,) = await engine.replay_executions([replay])
    if isinstance(started, Exception):
        raise started
    return started.id


async def _told(engine: Engine, run: NodeRunRecord) -> FixtureRun:
    return FixtureRun(
        node=run.node,
        ordinal=run.ordinal,
        label=run.label,
        type=run.type,
        status=run.status,
        attempt=run.attempt,
        input=await engine.values.load(run.input),
        output=await engine.values.load(run.output),
        error=None if run.error is None else msgspec.convert(run.error, Failure),
    )
