"""What the files of deploy/ run is what the command line and the settings know."""

import re
from pathlib import Path
from typing import Any

import click
import pytest

from perdure.base.clock import SECOND
from perdure.cli.main import root
from perdure.settings import ServerSettings, load_settings
from tests.deploy.files import Run, runs

RUNS = {run.where: run for run in runs()}
STORE = "postgresql://perdure@db.example/perdure"


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Run:
    return RUNS[request.param]


def test_its_command_is_one(run: Run) -> None:
    parsed(run.words)


def test_its_variables_are_settings_with_values_that_fit(run: Run, tmp_path: Path) -> None:
    named = {name.removeprefix("PERDURE_").removesuffix("_FILE").lower() for name in run.environ}
    assert all(name.startswith("PERDURE_") for name in run.environ)
    assert named <= set(ServerSettings.__struct_fields__)
    settings(run, tmp_path)


def test_what_has_a_store_elsewhere_reads_its_url_from_a_file(run: Run, tmp_path: Path) -> None:
    """So that the password is in no list of processes and in no environment."""
    assert "--store" not in run.words
    assert "PERDURE_STORE" not in run.environ
    is_alone = run.where in {"perdure.service", "Dockerfile"}
    assert (settings(run, tmp_path).store == STORE) is not is_alone


def test_it_is_given_the_time_that_it_takes_to_stop(run: Run, tmp_path: Path) -> None:
    chosen = settings(run, tmp_path)
    needed = (chosen.drain + chosen.grace) / SECOND
    assert run.stop_s is None or run.stop_s - run.before_stop_s >= needed + 10


def parsed(words: tuple[str, ...]) -> dict[str, Any]:
    """The options by name. Raises `click.UsageError` for what no command takes."""
    command: click.Command = root
    context = click.Context(command, info_name="perdure")
    rest = list(words)
    while isinstance(command, click.Group):
        if command.invoke_without_command and (not rest or rest[0].startswith("-")):
            break
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)
    return command.make_context(context.info_name, rest, parent=context.parent).params


def settings(run: Run, folder: Path) -> ServerSettings:
    """As the process has them, with the file of the store's URL put in its place."""
    url = folder / "url"
    url.write_text(f"{STORE}\n")
    environ = {name: str(url) if name == "PERDURE_STORE_FILE" else value for name, value in run.environ.items()}
    fields = ServerSettings.__struct_fields__
    given = {name: value for name, value in parsed(run.words).items() if name in fields and value not in (None, ())}
    flags = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    numbers = {name: int(text) for name, text in flags.items() if isinstance(text, str) and re.fullmatch(r"\d+", text)}
    return load_settings(flags | numbers, environ, folder)
