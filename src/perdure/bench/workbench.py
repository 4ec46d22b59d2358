"""What every bench works with: its sizes, folders on the disk to be measured, and a place to say what goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from tempfile import mkdtemp

from perdure.bench.processes import ServerProcess, serve
from perdure.bench.raw import RawLimits
from perdure.bench.sizes import Sizes


class Workbench:
    """One run's. `say` gets a line about what is being done."""

    def __init__(self, root: Path, *, sizes: Sizes, say: Callable[[str], None]) -> None:
        self._root = root
        self._bytecode = root / "bytecode"
        self.sizes = sizes
        self.say = say
        self.raw = RawLimits(sizes, folder=self.folder, bytecode=self._bytecode)

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A new, empty folder on the disk to be measured; gone afterwards."""
        path = Path(mkdtemp(prefix=f"{name}-", dir=self._root))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def serve(self, home: Path) -> AbstractAsyncContextManager[ServerProcess]:
        """`perdure serve` in a process of its own, begun but perhaps not yet ready."""
        return serve(home, bytecode=self._bytecode)


@contextmanager
def workbench(home: Path, *, sizes: Sizes, say: Callable[[str], None]) -> Iterator[Workbench]:
    """A workbench in a folder of its own under `home`, which is cleared away at the end."""
    home.mkdir(parents=True, exist_ok=True)
    root = Path(mkdtemp(prefix="perdure-bench-", dir=home))
    try:
        yield Workbench(root, sizes=sizes, say=say)
    finally:
        shutil.rmtree(root, ignore_errors=True)
