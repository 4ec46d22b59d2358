"""`perdure worker`, and `perdure worker list`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perdure import serving
from perdure.cli.exits import Exit
from perdure.cli.lazy import LazyGroup
from perdure.cli.serving import WORKER, chosen_settings, settings_options


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    lazy={"list": ("perdure.cli.worker_list:list_", "List the workers of the server's store.")},
)
@settings_options(WORKER)
def worker(flags: Mapping[str, Any]) -> None:
    """Run executions of a shared store until stopped: a process without an API, as many of them as wanted.

    It needs a store that processes share (--store postgresql://…). Its flow folders hold the modules of Python nodes;
    the flows themselves are put by servers or by `perdure flow apply`. SIGTERM and Ctrl-C drain: what waits is handed
    over at once, what runs may end, the rest is handed over when its grace ends. A second one hurries.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if code := serving.serve(chosen_settings(flags), is_worker=True):
        raise Exit(code)
