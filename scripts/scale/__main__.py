"""Renew docs/reference/scale.md: `simulate` what is simulated (as `make docs` does), `measure` what is measured.

For measuring, a server of its own is made in a folder and stopped at the end.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import uvloop

from scripts.references.regions import renewed
from scripts.scale.costs import measured_costs
from scripts.scale.measure import SETTINGS
from scripts.scale.runs import measured_runs
from scripts.scale.tables import SIMULATED, costs_table, runs_table
from tests.postgres_server import Postgres

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "scale.md"


async def _renew(server: Postgres, folder: Path) -> None:
    for database in ("runs", "costs"):
        server.run(f"CREATE DATABASE {database}")
    runs = runs_table(await measured_runs(server.url("runs"), folder / "runs"))
    costs = costs_table(await measured_costs(server.url("costs"), folder / "costs"))
    text = PAGE.read_text(encoding="utf-8")
    makers = {"scale-runs": lambda: runs, "scale-costs": lambda: costs}
    PAGE.write_text(renewed(text, makers, kind="measured"), encoding="utf-8")


def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder) / "server").start(fsync=True, **SETTINGS)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_renew(server, Path(folder)))
        finally:
            server.stop()


def simulate() -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(renewed(text, SIMULATED, kind="simulated"), encoding="utf-8")


def main() -> int:
    for word in sys.argv[1:]:
        {"measure": measure, "simulate": simulate}[word]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
