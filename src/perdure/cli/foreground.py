"""One execution carried out in this process, without a server: begun, or taken up where it was left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from perdure.api.frames import event
from perdure.api.shapes import wait
from perdure.base.ids import id_bytes, id_text
from perdure.engine.engine import Engine
from perdure.engine.requests import StartRequest
from perdure.engine.streams import execution_events
from perdure.errors import CallerError, ExecutionEnded, ExecutionNotFound, FlowManaged, InvalidRequest, PerdureError
from perdure.flows.documents import parse_document
from perdure.model.answer import APPROVAL, ASK, Responder
from perdure.model.definition import Flow, qualified
from perdure.model.states import TERMINAL, ExecutionStatus
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.records import ExecutionRecord
from perdure.wire.events import Event
from perdure.wire.waits import Wait

WORKSPACE = "default"
UNFINISHED = tuple(status for status in ExecutionStatus if status not in TERMINAL)
SOMEBODY = Responder(name="terminal", known=False)
LOOKED_AT = 1_000
"""Unfinished executions of the flow among which those of other versions are looked for, the newest first."""


class Outcome(msgspec.Struct, frozen=True):
    """How it ended; `output` and `error` are JSON values."""

    status: ExecutionStatus
    output: Any
    error: dict[str, Any] | None


class Foreground:
    """`resumed` says that an unfinished execution was taken up, rather than a new one begun."""

    def __init__(self, engine: Engine, *, flow: Flow, version: int, execution_id: bytes, resumed: bool) -> None:
        self._engine = engine
        self._id = execution_id
        self.flow = flow
        self.version = version
        self.resumed = resumed
        self.id = id_text(execution_id)

    async def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """Its events, as they are committed, until it has ended; meanwhile it and its children are carried out."""
        self._engine.claim_family(self._id)
        source = execution_events(
            self._engine.store, self._engine.hub, workspace=WORKSPACE, execution_id=self._id, after_seq=after
        )
        async for batch in source:
            for item in batch:
                yield event(item, str(item.seq))

    async def outcome(self) -> Outcome:
        """How it stands; final once `events` has ended."""
        record = await self._record()
        payload = await self._engine.store.executions.payload(WORKSPACE, self._id)
        text = None if payload is None else await self._engine.payload_text(payload.output)
        return Outcome(
            record.status,
            None if text is None else msgspec.json.decode(text),
            None if payload is None else payload.error,
        )

    async def last_seq(self) -> int:
        return (await self._record()).last_seq

    async def cancel(self) -> None:
        """Ask it to end; `events` carries out what cleans up after it."""
        [answer] = await self._engine.cancel_executions(WORKSPACE, [self._id])
        if isinstance(answer, CallerError):
            raise answer

    async def questions(self) -> list[Wait]:
        """The approvals and asks of it that are not answered yet."""
        waits = await self._engine.store.waits.of(WORKSPACE, self._id)
        return [one for one in map(wait, waits) if one.kind in (APPROVAL, ASK) and not one.answered]

    async def respond(self, name: str, *, approved: bool | None = None, answer: Any = UNSET) -> None:
        """Answer one of `questions` by its id, as anybody on a server without tokens may.

        Raises InvalidAnswer with all that is wrong, WaitNotOpen, WaitAnswered, AlreadyResponded, ExecutionEnded.
        """
        await self._engine.answers.respond(
            WORKSPACE, self._id, responder=SOMEBODY, wait=name, approved=approved,
            answer=None if answer is UNSET else answer, has_answer=answer is not UNSET, comment=None,
        )  # fmt: skip

    async def left_behind(self) -> list[ExecutionRecord]:
        """Unfinished executions of other versions of its flow, the newest first: nobody goes on with them here."""
        wanted = ExecutionFilter(flow=self.flow.id, statuses=UNFINISHED)
        records = await self._engine.store.executions.list(WORKSPACE, wanted, Page(limit=LOOKED_AT))
        return [record for record in records if record.flow_version != self.version and record.parent is None]

    async def _record(self) -> ExecutionRecord:
        record = await self._engine.store.executions.get(WORKSPACE, self._id)
        if record is None:
            raise ExecutionNotFound(f"execution {self.id} is gone")
        return record


async def begin(engine: Engine, *, document: bytes, media_type: str, input: Any, tags: Mapping[str, str]) -> Foreground:
    """Put the definition, then take up the newest unfinished execution of the same version and input, or start one.

    Raises InvalidFlow and MalformedDocument with every problem, InvalidInput.
    """
    flow_id, version = await _put(engine, document, media_type)
    _, program = await engine.catalog.program(WORKSPACE, flow_id, version)
    request = StartRequest(
        workspace=WORKSPACE, flow=flow_id, version=version, input=input, tags=dict(tags), trigger_kind="cli"
    )
    wanted, _ = await engine.starts.build(request)
    if wanted.input.text is not None:
        known = await engine.store.executions.unfinished_like(WORKSPACE, flow_id, version, wanted.input.text)
        if known is not None:
            return Foreground(engine, flow=program.flow, version=version, execution_id=known.id, resumed=True)
    [started] = await engine.start_executions([request])
    if isinstance(started, PerdureError):
        raise started
    return Foreground(engine, flow=program.flow, version=version, execution_id=started.id, resumed=False)


async def take_up(engine: Engine, named: str, *, flow: str) -> Foreground:
    """The unfinished execution of that id or number, at the version that it was started with.

    Raises ExecutionNotFound, ExecutionEnded, InvalidRequest when it is one of another flow.
    """
    record = await _find(engine, named)
    if record is None:
        raise ExecutionNotFound(f"there is no execution {named} in this store")
    if record.flow != flow:
        raise InvalidRequest(f"execution {named} is one of {record.flow}, the file holds {flow}")
    if record.status in TERMINAL:
        raise ExecutionEnded.of(named, record.status)
    _, program = await engine.catalog.program(WORKSPACE, flow, record.flow_version)
    return Foreground(engine, flow=program.flow, version=record.flow_version, execution_id=record.id, resumed=True)


async def _find(engine: Engine, named: str) -> ExecutionRecord | None:
    executions = engine.store.executions
    if named.isascii() and named.isdigit() and len(named) < 19:
        return await executions.by_number(WORKSPACE, int(named))
    try:
        return await executions.get(WORKSPACE, id_bytes(named))
    except ValueError:
        return None


async def _put(engine: Engine, document: bytes, media_type: str) -> tuple[str, int]:
    """The flow's id and version; a flow that a folder manages stays that folder's."""
    try:
        flow_id, version, _ = await engine.catalog.put(WORKSPACE, document, media_type=media_type)
    except FlowManaged:
        named = qualified(parse_document(document, media_type=media_type).value["id"])
        known = await engine.store.flows.get(WORKSPACE, named)
        source = None if known is None else known.source
        flow_id, version, _ = await engine.catalog.put(WORKSPACE, document, media_type=media_type, source=source)
    return flow_id, version
