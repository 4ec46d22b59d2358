"""`perdure serve`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perdure import serving
from perdure.cli.exits import Exit
from perdure.cli.serving import SERVER, chosen_settings, settings_options


@click.command()
@settings_options(SERVER)
def serve(flags: Mapping[str, Any]) -> None:
    """Run the server until it is stopped: store, engine and API in one process.

    Every option is also a variable (PERDURE_PORT) and a key of ./perdure.toml; the flag goes before the variable,
    the variable before the file. SIGTERM and Ctrl-C drain: nothing new begins, running attempts may end, the rest is
    taken up again at the next start. A second one hurries.
    """
    if code := serving.serve(chosen_settings(flags)):
        raise Exit(code)
