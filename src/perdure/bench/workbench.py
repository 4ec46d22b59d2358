"""What every bench works with: its sizes, folders on the disk to be measured, and a place to say what goes on."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from perdure.bench import budgets
from perdure.bench.processes import Running, ServerProcess, serve, work
from perdure.bench.raw import RawLimits
from perdure.bench.sizes import Sizes
from perdure.store.probes import Probes, open_probes


class Place(NamedTuple):
    """Where a server lives: a home, and a store that nobody else has, named as `--store` takes it."""

    home: Path
    store: str


class Workbench:
    """One run's. `say` gets a line about what is being done."""

    def __init__(self, root: Path, *, probes: Probes, sizes: Sizes, say: Callable[[str], None]) -> None:
        self._root = root
        self.probes = probes
        self.is_shared = probes.kind != "sqlite"
        """Whether several processes may work on one store."""
        self.budgets = budgets.POSTGRES if self.is_shared else budgets.EMBEDDED
        self._bytecode = root / "bytecode"
        self.sizes = sizes
        self.say = say
        self.raw = RawLimits(sizes, probes=probes, bytecode=self._bytecode)

    def folder(self, name: str) -> AbstractContextManager[Path]:
        """A new, empty folder on the disk to be measured; gone afterwards."""
        return _folder(name, self._root)

    @asynccontextmanager
    async def place(self, name: str) -> AsyncIterator[Place]:
        """A new, empty home and a new, empty store; gone afterwards."""
        with self.folder(name) as home:
            async with self.probes.fresh(home) as store:
                yield Place(home, store)

    def serve(self, place: Place, *, options: Sequence[str] = ()) -> AbstractAsyncContextManager[ServerProcess]:
        """`perdure serve` in a process of its own, begun but perhaps not yet ready."""
        return serve(place.home, store=place.store, options=options, bytecode=self._bytecode)

    @asynccontextmanager
    async def worker(self, place: Place, *, options: Sequence[str] = ()) -> AsyncIterator[Running]:
        """`perdure worker` on that store, with a home of its own; begun."""
        with self.folder("worker") as home:
            async with work(home, store=place.store, options=options, bytecode=self._bytecode) as worker:
                yield worker


@asynccontextmanager
async def workbench(
    home: Path, *, store: str | None = None, sizes: Sizes, say: Callable[[str], None]
) -> AsyncIterator[Workbench]:
    """A workbench in a folder of its own under `home`, which is cleared away at the end.

    `store` is the URL of a PostgreSQL database; without it, SQLite in that folder is measured. Raises as `open_probes`.
    """
    with _folder("perdure-bench", home) as root:
        async with open_probes(store, root) as probes:
            yield Workbench(root, probes=probes, sizes=sizes, say=say)


@contextmanager
def _folder(name: str, parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    path = Path(mkdtemp(prefix=f"{name}-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
