"""The options of everything that runs a server or an engine here; each is a setting of `ServerSettings`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from perdure.settings import ServerSettings, load_settings


class Setting(NamedTuple):
    """`metavar` None makes it a switch; `many` lets it be given often."""

    metavar: str | None
    about: str
    many: bool = False


HOME: Mapping[str, Setting] = {
    "home": Setting("DIR", "Where the store, artifacts and the lock live.  [.perdure]"),
    "store": Setting("URL", "The store, sqlite:PATH.  [perdure.db in the home]"),
}
ENGINE: Mapping[str, Setting] = {
    **HOME,
    "flows": Setting("DIR", "A folder of flows to load and watch; may be given often.", many=True),
    "allow_private_addresses": Setting(None, "Let http nodes reach private networks."),
    "allow_private_hosts": Setting(
        "HOST", "A private host, address or network for http nodes; may be given often.", many=True
    ),
    "pass_env": Setting("NAME", "A variable of this process for shell nodes; may be given often.", many=True),
    "pool_size": Setting("N", "Warm processes for Python nodes.  [one a core, two at least]"),
    "grace": Setting("DURATION", "What a stopped attempt is given before it is killed.  [10s]"),
    "cleanup_grace": Setting("DURATION", "What cleaning nodes are given after a cancel or a timeout.  [60s]"),
    "drain": Setting("DURATION", "What running attempts are given at the end.  [30s]"),
    "log_level": Setting("LEVEL", "debug, info, warning or error.  [info]"),
    "log_format": Setting("FORMAT", "auto, console or json.  [auto: console on a terminal]"),
}
SERVER: Mapping[str, Setting] = {
    "host": Setting("ADDRESS", "Where to listen; beyond loopback only with a token made.  [127.0.0.1]"),
    "port": Setting("PORT", "0 takes any free one.  [8000]"),
    **ENGINE,
    "queues": Setting("NAME", "Run executions of this queue only; may be given often.", many=True),
    "slots": Setting("N", "Executions to run at once.  [256]"),
    "worker_name": Setting("NAME", "What this process is called.  [host and pid]"),
    "streams": Setting("N", "Event streams that may be open at once.  [5000]"),
    "stream_ping": Setting("DURATION", "Silence after which an event stream is pinged.  [15s]"),
    "stream_stall": Setting("DURATION", "How long a stream's reader may stand still.  [30s]"),
}


def settings_options(settings: Mapping[str, Setting]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A command's options for these settings; their values arrive as one mapping, `flags`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(**given: Any) -> Any:
            flags = {name: given.pop(name) for name in settings}
            return function(**given, flags={name: value for name, value in flags.items() if value not in (None, ())})

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        decorated: Callable[..., Any] = command
        for name, setting in reversed([*settings.items()]):
            option = f"--{name.replace('_', '-')}"
            if setting.metavar is None:
                decorated = click.option(option, name, is_flag=True, default=None, help=setting.about)(decorated)
            else:
                decorated = click.option(
                    option, name, metavar=setting.metavar, multiple=setting.many, help=setting.about
                )(decorated)
        return decorated

    return decorate


def chosen_settings(flags: Mapping[str, Any]) -> ServerSettings:
    """Flags over environment over `perdure.toml`. Raises InvalidSettings."""
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in flags.items()}
    for name in ("port", "slots", "pool_size", "streams"):
        if isinstance(text := given.get(name), str) and text.isascii() and text.isdigit():
            given[name] = int(text)
    return load_settings(given, os.environ, Path.cwd())
