"""Folders of flow files: read at start, watched afterwards.

A folder's flows are its `*.yaml`, `*.yml` and `*.json` files, in all of its subfolders; hidden
files and folders are left out, and so are files that do not look like a flow (no `nodes` at the
top) and never did. The folder keeps no last good version: whoever applies its changes does.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from perdure.errors import Problem
from perdure.flows.checking import check_document
from perdure.flows.documents import DOCUMENT_LIMIT, media_type_of
from perdure.flows.program import Program
from perdure.nodes.interface import NodeType

MAX_FILES = 10_000
"""Flow files in one folder."""

_RESCAN_MS = 15_000
"""Where the system tells of no changes (a network's file system), they are found this much later."""

_YAML_NODES = re.compile(r"""^["']?nodes["']?\s*:""", re.MULTILINE)
_JSON_NODES = re.compile(r"""["']?nodes["']?\s*:""")


class FlowFile(msgspec.Struct, frozen=True, kw_only=True):
    """What one file holds: a program with its text, or problems."""

    path: str
    media_type: str
    text: bytes = b""
    program: Program | None = None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    """What may go wrong with it, as it looked when the file was read."""

    def report(self) -> list[str]:
        """The problems, or else the warnings, as `path:line:column: what`, one a line."""
        told = self.problems or self.warnings
        return [f"{self.path}:{problem.line or 1}:{problem.column or 1}: {problem.detail}" for problem in told]


class Changes(msgspec.Struct, frozen=True):
    """What became different: files that are new or changed, and paths that are gone."""

    changed: tuple[FlowFile, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


class FlowFolder:
    """One folder. Compiled files are remembered by their content: what did not change costs a read.

    Args:
        path: the folder; it need not exist yet.
        node_types: the types that nodes may have, by their names.
    """

    def __init__(self, path: str | os.PathLike[str], *, node_types: Mapping[str, NodeType]) -> None:
        self.path = Path(path).absolute()
        self._node_types = node_types
        self._compiled: dict[str, FlowFile] = {}
        self._shown: dict[str, FlowFile] = {}

    def scan(self) -> list[FlowFile]:
        """All flow files as they are now, by path. Of two with one id both are broken, each naming the other."""
        compiled = {}
        for path in flow_paths(self.path):
            file = self._read(path)
            if file is not None:
                compiled[file.path] = file
        self._compiled = compiled
        self._shown = _without_doubles(compiled)
        return list(self._shown.values())

    def changes(self) -> Changes:
        """What is different since the last `scan` or `changes`."""
        before = self._shown
        after = {file.path: file for file in self.scan()}
        changed = tuple(
            file for path, file in after.items() if before.get(path) is not file and before.get(path) != file
        )
        return Changes(changed, tuple(sorted(before.keys() - after.keys())))

    async def watch(self, stop: asyncio.Event) -> AsyncIterator[Changes]:
        """Yields changes as they happen, until `stop` is set; what changed before the first step counts too."""
        # Imported here because only a server with folders watches.
        from watchfiles import awatch  # noqa: PLC0415

        self.path.mkdir(parents=True, exist_ok=True)
        events = awatch(
            self.path, stop_event=stop, watch_filter=_concerns_flows, step=100,
            yield_on_timeout=True, rust_timeout=_RESCAN_MS,
        )  # fmt: skip
        coming = asyncio.ensure_future(anext(events, None))
        try:
            # The watch begins with this step; looking after it has begun misses nothing.
            await asyncio.sleep(0)
            while True:
                changes = await asyncio.to_thread(self.changes)
                if changes:
                    yield changes
                if await coming is None:
                    return
                coming = asyncio.ensure_future(anext(events, None))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await events.aclose()

    def _read(self, path: Path) -> FlowFile | None:
        """None for a file that is no flow, or that has just gone."""
        media_type = media_type_of(path.suffix) or ""
        name = str(path)
        try:
            with path.open("rb") as file:
                text = file.read(DOCUMENT_LIMIT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = Problem("unreadable", f"the file cannot be read: {error.strerror or error}", line=1, column=1)
            return FlowFile(path=name, media_type=media_type, problems=(problem,))
        known = self._compiled.get(name)
        if known is not None and known.text == text:
            return known
        # What has been a flow stays one: while it is edited it may look like anything.
        if known is None and not looks_like_flow(text):
            return None
        checked = check_document(text, media_type=media_type, node_types=self._node_types)
        return FlowFile(
            path=name, media_type=media_type, text=text, program=checked.program, problems=checked.problems,
            warnings=checked.warnings,
        )  # fmt: skip


def flow_paths(folder: Path) -> list[Path]:
    """The files in a folder that may be flows, by path: neither they nor their folders are hidden."""
    found: list[Path] = []
    for inner, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        found += [
            Path(inner, name) for name in sorted(names) if not _is_hidden(name) and media_type_of(Path(name).suffix)
        ]
        if len(found) > MAX_FILES:
            break
    return found[:MAX_FILES]


def looks_like_flow(text: bytes) -> bool:
    """Whether it has `nodes` at the top, judged without reading it as YAML: it may be broken."""
    source = text.decode("utf-8-sig", "replace")
    return bool((_JSON_NODES if source.lstrip().startswith("{") else _YAML_NODES).search(source))


def doubles(ids: Mapping[str, str]) -> dict[str, Problem]:
    """Of flow ids by path, the paths whose id another one has too, each with a problem that names the others."""
    by_id: dict[str, list[str]] = {}
    for path, flow in ids.items():
        by_id.setdefault(flow, []).append(path)
    found = {}
    for flow, paths in by_id.items():
        for path in paths if len(paths) > 1 else ():
            others = ", ".join(other for other in paths if other != path)
            found[path] = Problem("duplicate_flow", f"the flow {flow} is also in {others}", "/id", line=1, column=1)
    return found


def _without_doubles(files: dict[str, FlowFile]) -> dict[str, FlowFile]:
    """Files of which several have one id lose their programs: none of them is the right one."""
    ids = {path: file.program.flow.id for path, file in files.items() if file.program is not None}
    shown = dict(files)
    for path, problem in doubles(ids).items():
        shown[path] = msgspec.structs.replace(files[path], program=None, problems=(problem,))
    return shown


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _concerns_flows(change: object, path: str) -> bool:
    # A folder that comes or goes has no suffix and brings or takes its files.
    suffix = Path(path).suffix
    return not _is_hidden(Path(path).name) and (not suffix or media_type_of(suffix) is not None)
