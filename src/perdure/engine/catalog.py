"""Flows and their compiled programs: looked up for starts and owners, put by API and folders."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

from perdure.base.clock import SECOND, Clock
from perdure.errors import FlowNotFound, FlowVersionNotFound
from perdure.flows.checking import Checked, check_document
from perdure.flows.program import Program, compile_flow, load_program
from perdure.nodes.interface import NodeType
from perdure.store.commands import DeleteFlow, PutFlow
from perdure.store.interface import Store
from perdure.store.recorder import Recorder

_CACHED_PROGRAMS = 1_000
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

    async def program(self, workspace: str, flow: str, version: int | None = None) -> tuple[int, Program]:
        """The version's number and program; without a version the latest of a flow that is not deleted.

        Raises `FlowNotFound`, `FlowVersionNotFound`.
        """
        if version is None:
            version = self._known_latest(workspace, flow)
        if version is not None:
            program = self._programs.get((workspace, flow, version))
            if program is not None:
                self._programs.move_to_end((workspace, flow, version))
                return version, program
        record = await self._store.flows.version(workspace, flow, version)
        if record is None:
            if version is None or await self._store.flows.get(workspace, flow) is None:
                raise FlowNotFound(f"there is no flow {flow!r}", flow=flow)
            raise FlowVersionNotFound(f"flow {flow!r} has no version {version}", flow=flow, version=version)
        program = self._programs.get((workspace, flow, record.number))
        if program is None:
            program = load_program(record.document, node_types=self.node_types)
        if version is None:
            self._latest[workspace, flow] = record.number, self._clock.monotonic()
        self._keep(workspace, flow, record.number, program)
        return record.number, program

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
        number, created = await self._recorder.execute(
            PutFlow(
                at=self._clock.now(),
                workspace=workspace,
                id=flow,
                description=program.flow.description,
                content_hash=program.content_hash,
                document=program.document,
                source_text=text.decode("utf-8-sig"),
                media_type=media_type,
                source=source,
            )
        )
        self._latest[workspace, flow] = number, self._clock.monotonic()
        self._keep(workspace, flow, number, program)
        return flow, number, created

    async def delete(self, workspace: str, flow: str, *, source: str | None = None) -> None:
        """Raises `FlowNotFound`, `FlowManaged`, `FlowInUse`."""
        await self._recorder.execute(DeleteFlow(at=self._clock.now(), workspace=workspace, id=flow, source=source))
        self._latest.pop((workspace, flow), None)

    def check(self, text: bytes, *, media_type: str) -> Checked:
        """Every problem of a document, and what may go wrong with it here; nothing is stored."""
        return check_document(text, media_type=media_type, node_types=self.node_types)

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
