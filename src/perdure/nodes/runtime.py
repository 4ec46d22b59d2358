"""What node types work with: the supervisor, the pool, artifact storage, the flow folders, limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from perdure.artifacts.local import LocalStorage
from perdure.nodes.capture import Capture
from perdure.nodes.isolation import linux, wire
from perdure.nodes.isolation.pool import Pool
from perdure.nodes.isolation.supervision import Supervision
from perdure.nodes.modules import FlowFolderFinder
from perdure.nodes.slots import Slots


def default_pool_size() -> int:
    return max(2, os.cpu_count() or 1)


class RuntimeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`home` is perdure's folder on this machine; artifacts are in `<home>/artifacts` unless `artifacts` names a folder.

    `allow_private_hosts` names hosts (`name`, `name:port`, an address or a network like
    `10.0.0.0/8`) that http nodes may reach although their addresses are private. `pass_env` names
    variables of the engine's environment that shell nodes get besides PATH, HOME, LANG, LC_ALL, TZ
    and TMPDIR.
    """

    home: str
    artifacts: str | None = None
    flow_folders: tuple[str, ...] = ()
    pool_size: int = msgspec.field(default_factory=default_pool_size)
    quarantine_size: int | None = None
    """Places for quarantined attempts besides the pool's; None means as many as the pool has."""
    pool_warm: int = 1
    """Pool processes that are started at once, before there is work."""
    import_s: float = 60.0
    """Seconds for the import of a module whose functions are not known yet."""
    shell_processes: int = 32
    threads: int = 32
    http_connections: int = 100
    allow_private_addresses: bool = False
    allow_private_hosts: frozenset[str] = frozenset()
    pass_env: tuple[str, ...] = ()


class NodeRuntime:
    """Held by the engine; node types get it when they are made. Inert until `start`."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self.settings = settings
        self.flow_folders = [str(Path(folder).resolve()) for folder in settings.flow_folders]
        self._home = Path(settings.home).resolve()
        self.storage = LocalStorage(settings.artifacts or self._home / "artifacts")
        self.generation = 0
        """Rises when the code in the flow folders has changed."""
        self._finder = FlowFolderFinder(self.flow_folders)
        self._closers: list[Any] = []
        self._started = False

    @property
    def supervision(self) -> Supervision:
        return self._supervision

    @property
    def pool(self) -> Pool:
        return self._pool

    async def start(self) -> None:
        """Start the supervisor, and in the background the first pool processes. Raises SpawnFailed, OSError."""
        self.shell_slots = Slots(self.settings.shell_processes)
        self.thread_slots = Slots(self.settings.threads)
        self._scratch = await asyncio.to_thread(_make_scratch, self._home)
        self._supervision = Supervision()
        self._pool = Pool(
            self._supervision,
            size=self.settings.pool_size,
            quarantine_size=self.settings.quarantine_size or self.settings.pool_size,
            import_s=self.settings.import_s,
            setup=self._setup,
        )
        await self._supervision.start()
        self._finder.install()
        self._capture = Capture()
        self._capture.install()
        self._started = True
        self._warming = asyncio.create_task(self._warm_up())

    def let_run_until(self, moment: float) -> None:
        """See `Supervision.let_run_until`."""
        if self._started:
            self._supervision.let_run_until(moment)

    async def stop(self) -> None:
        """End every process that is still there; attempts are to be cancelled before."""
        if not self._started:
            return
        self._started = False
        self._warming.cancel()
        await asyncio.wait({self._warming})
        for close in self._closers:
            await close()
        await self._pool.stop()
        await self._supervision.stop()
        self._capture.remove()
        self._finder.remove()
        await asyncio.to_thread(_remove_scratch, self._scratch)

    def on_stop(self, close: Any) -> None:
        """Have this async function called at `stop`."""
        self._closers.append(close)

    def recycle(self) -> None:
        """The code in the flow folders has changed: attempts that begin from now on import it anew."""
        self.generation += 1
        self._finder.forget()
        if self._started:
            self._pool.recycle()

    def set_flow_folders(self, folders: Sequence[str]) -> None:
        self.flow_folders[:] = [str(Path(folder).resolve()) for folder in folders]
        self._finder.folders[:] = self.flow_folders
        self.recycle()

    def resize(self, *, pool_size: int | None = None, shell_processes: int | None = None) -> None:
        if pool_size is not None:
            self._pool.resize(pool_size)
        if shell_processes is not None:
            self.shell_slots.resize(shell_processes)

    def scratch_folder(self) -> str:
        """A fresh, empty folder; whoever asks removes it. What a crash leaves is removed at the next start."""
        return tempfile.mkdtemp(dir=self._scratch)

    def describe(self) -> dict[str, Any]:
        """For system info."""
        if not self._started:
            return {"started": False}
        return {
            "started": True,
            "supervisor": self._supervision.describe(),
            "pool": self._pool.describe(),
            "shell": {"limit": self.shell_slots.limit, "running": self.shell_slots.used},
            "threads": {"limit": self.thread_slots.limit, "running": self.thread_slots.used},
            "flow_folders": list(self.flow_folders),
        }

    async def _warm_up(self) -> None:
        await asyncio.to_thread(self.storage.sweep)
        await self._pool.warm_up(self.settings.pool_warm)

    def _setup(self) -> wire.Setup:
        sys_path = [path or os.getcwd() for path in sys.path]
        return wire.Setup(folders=list(self.flow_folders), sys_path=sys_path, artifacts=str(self.storage.root))


def _remove_scratch(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # Stays while another runtime of this process has its own beside ours.
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def _make_scratch(home: Path) -> Path:
    """A folder of this process, named so that a later one can tell that its owner is dead."""
    parent = home / "scratch"
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.iterdir():
        pid, _, started = folder.name.partition("-")
        if linux.IS_LINUX and pid.isdigit():
            owner = linux.look_at(int(pid))
            if owner is None or str(owner.started) != started:
                shutil.rmtree(folder, ignore_errors=True)
    seen = linux.look_at(os.getpid())
    mine = parent / f"{os.getpid()}-{seen.started if seen is not None else 0}"
    with contextlib.suppress(FileExistsError):
        mine.mkdir(mode=0o700)
    return Path(tempfile.mkdtemp(dir=mine))
