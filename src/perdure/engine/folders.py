"""Flow folders in use: loaded at start, watched, each broken file reported while its last good version stays."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import structlog

from perdure.engine.catalog import Catalog
from perdure.engine.insist import PASSING
from perdure.errors import FlowInUse, FlowNotFound, PerdureError, Problem
from perdure.flows.folder import FlowFile, FlowFolder
from perdure.nodes.runtime import NodeRuntime
from perdure.store.interface import Store

log = structlog.get_logger(__name__)

WORKSPACE = "default"
_LOOK_S = 5.0
_PAGE = 500


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

    def __init__(
        self, paths: list[Path], *, store: Store, catalog: Catalog, runtime: NodeRuntime, puts: bool = True
    ) -> None:
        """Without `puts` the folders only hold the modules of Python nodes: their flows are put by somebody else."""
        self._puts = puts
        self._store = store
        self._catalog = catalog
        self._leaving: dict[tuple[str, str], Source] = {}
        """Flows whose file is gone and that are still to go, by source and id."""
        self._untaken: dict[str, tuple[Source, FlowFile]] = {}
        """Files that the store could not take when they changed, by path."""
        self._runtime = runtime
        resolved = [path.resolve() for path in paths]
        names = [path.name for path in resolved]
        self._folders = [
            (
                FlowFolder(path, node_types=catalog.node_types),
                Source(name=path.name if names.count(path.name) == 1 else str(path), path=str(path)),
            )
            for path in resolved
        ]
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def sources(self) -> list[Source]:
        return [source for _, source in self._folders]

    async def load(self) -> None:
        """Put every flow of every folder; drop those whose files went while nobody watched."""
        for folder, _ in self._folders:
            if folder.path.is_file():
                log.warning("flow folder is a file; name the folder that it is in", path=str(folder.path))
            elif not folder.path.exists():
                log.warning("flow folder is not there yet; it is made, and watched", path=str(folder.path))
        for folder, source in self._folders if self._puts else ():
            for file in await asyncio.to_thread(folder.scan):
                await self._put(source, file)
            if not source.broken:
                await self._drop_strays(source)

    async def work(self) -> float:
        """Delete what has left its folder and was still in use, put what could not be; seconds until the next look."""
        untaken, self._untaken = self._untaken, {}
        for source, file in untaken.values():
            await self._put(source, file)
        for (_, flow), source in [*self._leaving.items()]:
            await self._delete(source, flow)
        return _LOOK_S

    async def _drop_strays(self, source: Source) -> None:
        """A broken file may be any flow's, so this is for folders without one."""
        present = set(source.flows.values())
        after: str | None = None
        while page := await self._store.flows.list(WORKSPACE, after=after, limit=_PAGE):
            after = page[-1].id
            for flow in page:
                if flow.source == source.name and flow.id not in present:
                    await self._delete(source, flow.id)

    def watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(folder, source)) for folder, source in self._folders]

    async def close(self) -> None:
        self._stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, folder: FlowFolder, source: Source) -> None:
        while not self._stop.is_set():
            try:
                await self._heed(folder, source)
            except Exception:
                log.exception("flow folder could not be watched; it is looked through again", path=source.path)
                await asyncio.sleep(_LOOK_S)

    async def _heed(self, folder: FlowFolder, source: Source) -> None:
        async for changes in folder.watch(self._stop):
            self._runtime.recycle()
            if not self._puts:
                continue
            for path in changes.removed:
                await self._remove(source, path)
            for file in changes.changed:
                await self._put(source, file)

    async def _put(self, source: Source, file: FlowFile) -> None:
        self._untaken.pop(file.path, None)
        if file.program is None:
            source.broken[file.path] = file.problems
            for line in file.report():
                log.warning("flow file is broken; its last good version, if there was one, stays", place=line)
            return
        try:
            flow, version, created = await self._catalog.put(
                WORKSPACE, file.text, media_type=file.media_type, source=source.name
            )
        except PerdureError as error:
            source.broken[file.path] = error.problems or (Problem(error.code, error.message),)
            if isinstance(error, PASSING):
                self._untaken[file.path] = source, file
            log.warning("flow file was not taken", path=file.path, why=error.message)
            return
        source.broken.pop(file.path, None)
        before = source.flows.get(file.path)
        source.flows[file.path] = flow
        if before is not None and before != flow:
            await self._delete(source, before)
        if created:
            log.info("flow loaded", flow=flow, version=version, path=file.path)
        for line in file.report():
            log.warning("flow is loaded, but will hardly run as it is", flow=flow, place=line)

    async def _remove(self, source: Source, path: str) -> None:
        source.broken.pop(path, None)
        self._untaken.pop(path, None)
        flow = source.flows.pop(path, None)
        if flow is not None:
            await self._delete(source, flow)

    async def _delete(self, source: Source, flow: str) -> None:
        key = (source.name, flow)
        known = self._leaving.pop(key, None)
        if flow in source.flows.values():
            return
        try:
            await self._catalog.delete(WORKSPACE, flow, source=source.name)
            log.info("flow removed with its file", flow=flow)
        except FlowInUse as error:
            self._leaving[key] = source
            if known is None:
                log.warning("flow goes when its executions have ended: its file is gone", flow=flow, why=error.message)
        except FlowNotFound:
            return
        except PASSING as error:
            self._leaving[key] = source
            log.warning("flow goes when the store answers: its file is gone", flow=flow, why=error.message)
