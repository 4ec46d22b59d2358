"""`perdure doctor`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from perdure.cli.checks import (
    FAIL,
    OK,
    WARN,
    Finding,
    check_flow_folders,
    check_fsync,
    check_home,
    check_owner,
    check_python,
    check_server,
    check_space,
    check_sqlite,
    check_store,
    check_supervisor,
)
from perdure.cli.database_checks import check_database
from perdure.cli.event_loop import run_loop
from perdure.cli.exits import ERROR, Exit
from perdure.cli.output import print_json
from perdure.cli.session import Session, open_session, server_options
from perdure.client.profiles import DEFAULT_URL
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings
from perdure.settings import ServerSettings, load_settings

COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the findings.")
@server_options
def doctor(output: str, url: str | None, token: str | None, workspace: str | None, profile: str | None) -> None:
    """Check what perdure needs here, each with ok, warn or fail, and what to do. Exits with 1 when anything failed."""
    settings = load_settings({}, os.environ, Path.cwd())
    session = open_session(url=url, token=token, workspace=workspace, profile=profile)
    findings = _findings(settings, session)
    if output == "json":
        print_json(findings)
    else:
        for finding in findings:
            _print(finding)
    if any(finding.state == FAIL for finding in findings):
        raise Exit(ERROR)


def _findings(settings: ServerSettings, session: Session) -> list[Finding]:
    runtime_settings = RuntimeSettings(home=str(settings.home), flow_folders=tuple(map(str, settings.flows)))
    node_types = load_node_types(NodeRuntime(runtime_settings))
    return [
        check_python(),
        check_sqlite(),
        check_home(settings),
        check_space(settings),
        *_store_findings(settings),
        check_supervisor(),
        *check_flow_folders(settings, node_types),
        *run_loop(check_server(session, expected=session.target.url != DEFAULT_URL)),
    ]


def _store_findings(settings: ServerSettings) -> list[Finding]:
    url = settings.shared_store()
    if url is not None:
        return run_loop(check_database(url))
    return [check_fsync(settings), check_store(settings), check_owner(settings)]


def _print(finding: Finding) -> None:
    state = f"{finding.state:<4}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        state = click.style(state, fg=COLOURS[finding.state])
    first, *more = finding.detail.splitlines()
    click.echo(f"{state}  {finding.check:<10}  {first}")
    for line in more:
        click.echo(f"{'':18}{line}")
    if finding.advice and finding.state != OK:
        click.echo(f"{'':18}→ {finding.advice}")
