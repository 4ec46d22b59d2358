"""`perdure version`."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed

import click


@click.command()
def version() -> None:
    """Print the version, and that of the Python it runs on."""
    click.echo(f"perdure {installed('perdure')} (Python {platform.python_version()}, {platform.platform()})")
