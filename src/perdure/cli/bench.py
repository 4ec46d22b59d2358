"""`perdure bench`."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.bench import main
from perdure.cli.exits import Exit


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice([*main.BENCHES]))
@click.option("--quick", is_flag=True, help="Less than a minute, with less to measure.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print the report.")
@click.option(
    "--store",
    metavar="URL",
    help="A PostgreSQL database without a store, to be measured instead of SQLite.  [PERDURE_BENCH_STORE]",
    envvar="PERDURE_BENCH_STORE",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="A folder on the disk to be measured.  [.]",
)
def bench(names: tuple[str, ...], quick: bool, output: str, store: str | None, home: Path | None) -> None:
    """Measure this machine against the budgets, beside what it can do at best; all benches, or those named."""
    if code := main.run(names, store=store, as_json=output == "json", quick=quick, home=home):
        raise Exit(code)
