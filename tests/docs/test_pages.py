"""Every example in the README and the docs works as it is printed."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from perdure.flows.checking import check_document
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings
from tests.docs.pages import Block, agrees, blocks, documented, steps
from tests.docs.shell import Terminal, reader_environ, terminal
from tests.postgres_server import Postgres, binaries

ROOT = Path(__file__).parents[2]
PAGES = [str(path.relative_to(ROOT)) for path in documented(ROOT)]
SESSIONS = [page for page in PAGES if any(block.language == "console" for block in blocks((ROOT / page).read_text()))]
DATABASE_HOST = "db.example"
RUN_BY_OTHERS = {"make demo", "make test", "make check", "make bench", "git clone", "cd perdure"}
"""What `sh` blocks may hold: tests of their own run it."""


@pytest.fixture
def database(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """Where the PostgreSQL is that a page calls by the name of `DATABASE_HOST`; None where none does."""
    if DATABASE_HOST not in (ROOT / page).read_text(encoding="utf-8"):
        yield None
        return
    server = Postgres(tmp_path_factory.mktemp("database")).start(fsync=False)
    yield f"127.0.0.1:{server.port}"
    server.stop()


@pytest.mark.parametrize("page", SESSIONS)
async def test_a_page_s_sessions_go_as_it_shows(page: str, database: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    if page.startswith("examples/"):
        shutil.copytree((ROOT / page).parent, folder)
    else:
        folder.mkdir()
    environ = reader_environ(tmp_path)
    names = {"127.0.0.1:8000": f"127.0.0.1:{environ['PERDURE_PORT']}"}
    if database is not None:
        names[DATABASE_HOST] = database
        environ["PATH"] = f"{binaries()}{os.pathsep}{environ['PATH']}"
    async with terminal(folder, environ) as other, terminal(folder, environ) as own:
        for block in blocks((ROOT / page).read_text(encoding="utf-8")):
            if block.arguments and block.language != "console":
                _write(folder, block)
            elif block.language == "console":
                await _follow(page, block, other if "server" in block.arguments else own, names)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_s_flows_are_valid(page: str) -> None:
    node_types = load_node_types(NodeRuntime(RuntimeSettings(home=".perdure")))
    for block in blocks((ROOT / page).read_text(encoding="utf-8")):
        if block.language == "yaml" and block.body.startswith("id:"):
            problems = check_document(
                block.body.encode(), media_type="application/yaml", node_types=node_types
            ).problems
            assert not problems, f"{page}:{block.line}: {problems}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_commands_that_nothing_runs(page: str) -> None:
    for block in blocks((ROOT / page).read_text(encoding="utf-8")):
        if block.language in {"sh", "bash", "shell"}:
            for line in filter(None, map(str.strip, block.body.splitlines())):
                command = line.partition("#")[0].strip()
                assert any(command.startswith(known) for known in RUN_BY_OTHERS), f"{page}:{block.line}: {command}"


def _write(folder: Path, block: Block) -> None:
    target = folder / block.arguments[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(block.body, encoding="utf-8")


async def _follow(page: str, block: Block, shell: Terminal, names: Mapping[str, str]) -> None:
    """`names` are those of the page for what has another one here."""
    for step in steps(block):
        # The port that the test's server has by its environment is not for workers, too.
        command = f"PERDURE_PORT=0 {step.command}" if step.command.startswith("perdure worker") else step.command
        for name, here in names.items():
            command = command.replace(name, here)
        where = f"{page}:{block.line}: $ {step.command}"
        if "server" in block.arguments:
            printed, code = await shell.begin(command, until="ready at"), 0
        else:
            printed, code = await shell.run(command)
        assert agrees(step.shown, printed), f"{where}\nprinted:\n" + "\n".join(printed)
        assert code == 0, where
