"""Flow folders in use: loaded at start, watched, each broken file reported while its last good version stays."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import structlog

from perdure.engine.catalog import Catalog
from perdure.errors import FlowInUse, FlowNotFound, PerdureError, Problem
from perdure.flows.folder import FlowFile, FlowFolder
from perdure.nodes.runtime import NodeRuntime

log = structlog.get_logger(__name__)

WORKSPACE = "default"


class Source(msgspec.Struct):
    """A folder of flows as callers see it."""

    name: str
    path: str
    flows: dict[str, str] = msgspec.field(default_factory=dict)
    """The id of each flow that was loaded, by its file's path."""
    broken: dict[str, tuple[Problem, ...]] = msgspec.field(default_factory=dict)
    """What is wrong with files that could not be loaded, by their paths."""


class Folders:
    """Keeps the catalog in step with the folders; node processes import their Python modules anew after a change."""

    def __init__(self, paths: list[Path], *, catalog: Catalog, runtime: NodeRuntime) -> None:
        self._catalog = catalog
        self._runtime = runtime
        self._folders = [
            (
                FlowFolder(path, node_types=catalog.node_types),
                Source(name=path.resolve().name, path=str(path.resolve())),
            )
            for path in paths
        ]
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def sources(self) -> list[Source]:
        return [source for _, source in self._folders]

    async def load(self) -> None:
        """Put every flow of every folder."""
        for folder, source in self._folders:
            for file in await asyncio.to_thread(folder.scan):
                await self._put(source, file)

    def watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(folder, source)) for folder, source in self._folders]

    async def close(self) -> None:
        self._stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, folder: FlowFolder, source: Source) -> None:
        async for changes in folder.watch(self._stop):
            self._runtime.recycle()
            for path in changes.removed:
                await self._remove(source, path)
            for file in changes.changed:
                await self._put(source, file)

    async def _put(self, source: Source, file: FlowFile) -> None:
        if file.program is None:
            source.broken[file.path] = file.problems
            for line in file.report():
                log.warning("flow file is broken; its last good version stays", place=line)
            return
        try:
            flow, version, created = await self._catalog.put(
                WORKSPACE, file.text, media_type=file.media_type, source=source.name
            )
        except PerdureError as error:
            source.broken[file.path] = error.problems or (Problem(error.code, error.message),)
            log.warning("flow file was not taken", path=file.path, why=error.message)
            return
        source.broken.pop(file.path, None)
        before = source.flows.get(file.path)
        source.flows[file.path] = flow
        if before is not None and before != flow:
            await self._delete(source, before)
        if created:
            log.info("flow loaded", flow=flow, version=version, path=file.path)

    async def _remove(self, source: Source, path: str) -> None:
        source.broken.pop(path, None)
        flow = source.flows.pop(path, None)
        if flow is not None:
            await self._delete(source, flow)

    async def _delete(self, source: Source, flow: str) -> None:
        if flow in source.flows.values():
            return
        try:
            await self._catalog.delete(WORKSPACE, flow, source=source.name)
            log.info("flow removed with its file", flow=flow)
        except FlowInUse as error:
            log.warning("flow stays: its file is gone but it has unfinished executions", flow=flow, why=error.message)
        except FlowNotFound:
            return
