"""Flows and their compiled programs: looked up for starts and owners, put by API and folders."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from perdure.base.clock import SECOND, Clock
from perdure.base.nearest import nearest
from perdure.engine.flow_changes import Change, FlowText, changed, planned, refuse_bad
from perdure.errors import FlowNotFound, FlowVersionNotFound
from perdure.flows.checking import Checked, check_document
from perdure.flows.program import Program, compile_flow, load_program
from perdure.nodes.interface import NodeType
from perdure.store.commands import DeleteFlow, NewFlow, PutFlows
from perdure.store.interface import Store
from perdure.store.recorder import Recorder
from perdure.store.records import FlowPut, FlowRecord

_CACHED_PROGRAMS = 1_000
_HINTED = 1_000
"""Flows among which the nearest to an unknown name is looked for."""
_TRUSTED_FOR = SECOND
"""How long a latest version counts as such where other processes put flows too."""


class Catalog:
    """One process's view of the flows. Programs are compiled once per version and kept, the newest used longest."""

    def __init__(self, *, store: Store, recorder: Recorder, clock: Clock, node_types: Mapping[str, NodeType]) -> None:
        self._store = store
        self._is_shared = store.sharing is not None
        self._recorder = recorder
        self._clock = clock
        self.node_types = node_types
        self._programs: OrderedDict[tuple[str, str, int], Program] = OrderedDict()
        self._latest: dict[tuple[str, str], tuple[int, int]] = {}
        """The number of the latest version, and when (monotonic) that was known."""
        self._changes = 0
        """Flows put and deleted here: what was read meanwhile may be older than what they left."""
        self._reading: dict[tuple[str, str, int | None], asyncio.Future[tuple[int, Program]]] = {}
        """Reads under way: all who want the same wait for one."""

    async def program(self, workspace: str, flow: str, version: int | None = None) -> tuple[int, Program]:
        """The version's number and program; without a version the latest of a flow that is not deleted.

        Raises `FlowNotFound`, `FlowVersionNotFound`.
        """
        number = self._known_latest(workspace, flow) if version is None else version
        if number is not None:
            program = self._programs.get((workspace, flow, number))
            if program is not None:
                self._programs.move_to_end((workspace, flow, number))
                return number, program
        key = workspace, flow, version
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = asyncio.ensure_future(self._read(workspace, flow, version))
            reading.add_done_callback(lambda done: self._have_read(key, done))
        return await asyncio.shield(reading)

    async def _read(self, workspace: str, flow: str, version: int | None) -> tuple[int, Program]:
        number = await self._latest_number(workspace, flow) if version is None else version
        program = self._programs.get((workspace, flow, number))
        if program is None:
            record = await self._store.flows.version(workspace, flow, number)
            if record is None:
                if await self._store.flows.get(workspace, flow) is None:
                    raise await self._no_flow(workspace, flow)
                raise FlowVersionNotFound(f"flow {flow!r} has no version {number}", flow=flow, version=number)
            # A flow of a thousand nodes takes a second, in which nobody else is to stand still.
            program = await asyncio.to_thread(load_program, record.document, node_types=self.node_types)
        self._keep(workspace, flow, number, program)
        return number, program

    async def _latest_number(self, workspace: str, flow: str) -> int:
        changes, asked_at = self._changes, self._clock.monotonic()
        record = await self._store.flows.get(workspace, flow)
        if record is None:
            raise await self._no_flow(workspace, flow)
        if changes == self._changes:
            self._latest[workspace, flow] = record.latest, asked_at
        return record.latest

    def _have_read(self, key: tuple[str, str, int | None], done: asyncio.Future[tuple[int, Program]]) -> None:
        if self._reading.get(key) is done:
            del self._reading[key]
        if not done.cancelled():
            # Whoever asked may have gone meanwhile.
            done.exception()

    async def put(
        self,
        workspace: str,
        text: bytes,
        *,
        media_type: str,
        expected_id: str | None = None,
        source: str | None = None,
    ) -> tuple[str, int, bool]:
        """Compile and store a definition: (flow id, version number, whether the version is new).

        Raises `MalformedDocument` or `InvalidFlow` with every problem, `FlowManaged`.
        """
        program = await asyncio.to_thread(
            compile_flow, text, media_type=media_type, node_types=self.node_types, expected_id=expected_id
        )
        flow = program.flow.id
        [put] = await self._store_all(workspace, [(FlowText(text, media_type), program)], source=source)
        return flow, put.number, put.is_new

    async def put_all(self, workspace: str, texts: Sequence[FlowText], *, dry_run: bool = False) -> list[Change]:
        """Compile and store definitions, all of them or none; with `dry_run` only say what that would change.

        Raises `InvalidFlow` with the problems of all, `FlowManaged` where nothing else is wrong. A problem's pointer is its
        definition's place, line and column are those in that text.
        """
        checked = [await asyncio.to_thread(self.check, one.text, media_type=one.media_type) for one in texts]
        flows = self._store.flows
        known: list[FlowRecord | None] = [
            None if one.program is None else await flows.get(workspace, one.program.flow.id) for one in checked
        ]
        refuse_bad(texts, checked, known)
        programs = [one.program for one in checked if one.program is not None]
        if dry_run:
            latest = [
                None if record is None else await flows.version(workspace, record.id, record.latest) for record in known
            ]
            changes = map(planned, programs, latest)
        else:
            put = await self._store_all(workspace, [*zip(texts, programs, strict=True)])
            changes = map(changed, programs, put)
        return [
            msgspec.structs.replace(change, warnings=one.warnings) for change, one in zip(changes, checked, strict=True)
        ]

    async def _store_all(
        self, workspace: str, definitions: Sequence[tuple[FlowText, Program]], *, source: str | None = None
    ) -> list[FlowPut]:
        flows = [
            NewFlow(
                id=program.flow.id,
                description=program.flow.description,
                content_hash=program.content_hash,
                document=program.document,
                source_text=given.text.decode("utf-8-sig"),
                media_type=given.media_type,
            )
            for given, program in definitions
        ]
        done: list[FlowPut] = await self._recorder.execute(
            PutFlows(at=self._clock.now(), workspace=workspace, flows=flows, source=source)
        )
        for (_, program), put in zip(definitions, done, strict=True):
            flow = program.flow.id
            self._has_changed(workspace, flow)
            self._latest[workspace, flow] = put.number, self._clock.monotonic()
            self._keep(workspace, flow, put.number, program)
        return done

    async def delete(self, workspace: str, flow: str, *, source: str | None = None) -> None:
        """Raises `FlowNotFound`, `FlowManaged`, `FlowInUse`."""
        await self._recorder.execute(DeleteFlow(at=self._clock.now(), workspace=workspace, id=flow, source=source))
        self._has_changed(workspace, flow)

    def check(self, text: bytes, *, media_type: str) -> Checked:
        """Every problem of a document, and what may go wrong with it here; nothing is stored."""
        return check_document(text, media_type=media_type, node_types=self.node_types)

    async def _no_flow(self, workspace: str, flow: str) -> FlowNotFound:
        return FlowNotFound(f"there is no flow {flow!r}{await self._nearest(workspace, flow)}", flow=flow)

    async def _nearest(self, workspace: str, flow: str) -> str:
        """A hint at the flow that was probably meant: the same name in another namespace, or one much like it."""
        known = [one.id for one in await self._store.flows.list(workspace, limit=_HINTED)]
        same = [id for id in known if id.partition("/")[2] == flow.partition("/")[2]]
        return f"; did you mean {' or '.join(map(repr, same[:3]))}?" if same else nearest(flow, known)

    def _has_changed(self, workspace: str, flow: str) -> None:
        """What was read before is not the latest any more; nobody joins a read that began before."""
        self._changes += 1
        self._latest.pop((workspace, flow), None)
        self._reading.pop((workspace, flow, None), None)

    def _known_latest(self, workspace: str, flow: str) -> int | None:
        known = self._latest.get((workspace, flow))
        if known is None or (self._is_shared and self._clock.monotonic() - known[1] > _TRUSTED_FOR):
            return None
        return known[0]

    def _keep(self, workspace: str, flow: str, version: int, program: Program) -> None:
        self._programs[workspace, flow, version] = program
        self._programs.move_to_end((workspace, flow, version))
        if len(self._programs) > _CACHED_PROGRAMS:
            self._programs.popitem(last=False)
