"""`perdure`: the command's root, and the frame that no error leaves as a traceback."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import NoReturn

import click

from perdure.cli.exits import INTERRUPTED, USAGE, Exit
from perdure.cli.lazy import LazyGroup, ended_at_once_by_ctrl_c
from perdure.ending import end_soon


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    lazy={
        "serve": ("perdure.cli.serve:serve", "Run the server until it is stopped."),
        "worker": ("perdure.cli.worker:worker", "Run executions of a shared store, without an API; list who does."),
        "demo": ("perdure.cli.demo:demo", "See a real flow run, from nothing, in a few seconds."),
        "run": ("perdure.cli.run:run", "Run a flow file here and now, without a server."),
        "flow": ("perdure.cli.flow:flow", "Definitions: list, show, validate, apply, delete, graph."),
        "execution": ("perdure.cli.execution:execution", "Runs of flows: start, watch, look into, cancel."),
        "operation": ("perdure.cli.operation:operation", "Actions on many executions: how far, what became of each."),
        "events": ("perdure.cli.events:events", "What happens in executions, while it happens."),
        "wait": ("perdure.cli.wait:wait", "The inbox: what waits for somebody to answer."),
        "token": ("perdure.cli.token:token", "Access: create, list, revoke tokens."),
        "store": ("perdure.cli.store:store", "Where executions are kept: back up, restore, check, copy."),
        "bench": ("perdure.cli.bench:bench", "Measure this machine against the budgets."),
        "doctor": ("perdure.cli.doctor:doctor", "Check what perdure needs, and say what to do."),
        "version": ("perdure.cli.version:version", "Print the version."),
        "completion": ("perdure.cli.completion:completion", "Print the set-up for your shell's completion."),
    },
    epilog="Exit codes: 0 ok, 1 error, 2 usage, 3 cancelled or timed out, 4 not allowed, 5 the execution failed, "
    "130 interrupted.",
)
@click.version_option(None, "-V", "--version", package_name="perdure", message="%(version)s")
def root() -> None:
    """Durable workflow executions: started once, carried to their end."""


def main() -> NoReturn:
    """Run the command that the process was started with, and end the process."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = call(sys.argv[1:])
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # All is done: the interpreter's way out would make a traceback of it.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        code = INTERRUPTED
    # The interpreter waits for threads, also for those that code of nodes has left.
    end_soon(code)
    sys.exit(code)


def call(args: list[str]) -> int:
    """Run one command; its exit code. Errors are told in one line, their traceback only with `PERDURE_DEBUG=1`."""
    try:
        root.main(args, prog_name="perdure", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exit as wanted:
        return wanted.exit_code
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    except SystemExit as wanted:
        # The shell's completion ends so.
        return int(wanted.code or 0)
    except click.UsageError as error:
        error.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("PERDURE_DEBUG", "") not in {"", "0"}:
            raise
        with ended_at_once_by_ctrl_c():
            failures = import_module("perdure.cli.failures")
        told = failures.explain(error, command=args[0] if args else None)
        click.echo(told.text, err=True)
        return int(told.exit_code)
    return 0
