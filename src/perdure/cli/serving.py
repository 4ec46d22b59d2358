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
    "store": Setting("URL", "The store, sqlite:PATH or postgresql://….  [perdure.db in the home]"),
    "artifacts": Setting("DIR", "A folder for artifacts that all have who share the store.  [home, or the database]"),
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
    "quarantine_size": Setting("N", "Processes for attempts of executions that crashed twice.  [as pool-size]"),
    "grace": Setting("DURATION", "What a stopped attempt is given before it is killed.  [10s]"),
    "cleanup_grace": Setting("DURATION", "What cleaning nodes are given after a cancel or a timeout.  [60s]"),
    "drain": Setting("DURATION", "What running attempts are given at the end.  [30s]"),
    "log_level": Setting("LEVEL", "debug, info, warning or error.  [info]"),
    "log_format": Setting("FORMAT", "auto, console or json.  [auto: console on a terminal]"),
}
WORK: Mapping[str, Setting] = {
    "queues": Setting("NAME", "Run executions of this queue only; may be given often.", many=True),
    "tags": Setting("TAG", "What flows may require, and is here; may be given often.", many=True),
    "slots": Setting("N", "Executions to run at once.  [256]"),
    "worker_name": Setting("NAME", "What this process is called.  [host and pid]"),
    "retention": Setting("RULES", "How long to keep what has ended: 30d, or 30d,failed=90d,billing=7d.  [30d]"),
    "lease": Setting("DURATION", "Silence after which others take over; where workers differ, the longest.  [30s]"),
}
SERVER: Mapping[str, Setting] = {
    "host": Setting("ADDRESS", "Where to listen; beyond loopback only with a token made.  [127.0.0.1]"),
    "port": Setting("PORT", "0 takes any free one.  [8000]"),
    **ENGINE,
    "no_worker": Setting(None, "Leave all executions to workers on the same store."),
    **WORK,
    "recycle_after": Setting("DURATION", "How long work that cannot be stopped may live on.  [30s]"),
    "recycle_pause": Setting("DURATION", "Least time between two replacements of the process.  [5m]"),
    "streams": Setting("N", "Event streams that may be open at once.  [5000]"),
    "stream_ping": Setting("DURATION", "Silence after which an event stream is pinged.  [15s]"),
    "stream_stall": Setting("DURATION", "How long a stream's reader may stand still.  [30s]"),
}


WORKER: Mapping[str, Setting] = {
    **ENGINE,
    **WORK,
    "host": Setting("ADDRESS", "Where to tell of its health; beyond loopback only with a token made.  [127.0.0.1]"),
    "port": Setting("PORT", "Tell of its health there; 0 takes any free one.  [not at all]"),
    "recycle_after": SERVER["recycle_after"],
    "recycle_pause": SERVER["recycle_pause"],
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
    given = {name: _listed(name, value) if isinstance(value, tuple) else value for name, value in flags.items()}
    for name in ("port", "slots", "pool_size", "quarantine_size", "streams"):
        if isinstance(text := given.get(name), str) and text.isascii() and text.isdigit():
            given[name] = int(text)
    return load_settings(given, os.environ, Path.cwd())


def _listed(name: str, values: tuple[str, ...]) -> list[str]:
    """Names may also stand behind one flag, set apart by commas."""
    if name not in ("queues", "tags"):
        return list(values)
    return [part for value in values for part in value.split(",") if part]


def as_options(flags: Mapping[str, Any]) -> list[str]:
    """The flags that were given, as a person would type them again."""
    words = []
    for name, value in flags.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, tuple):
            words += [word for one in value for word in (option, str(one))]
        else:
            words += [option] if value is True else [option, str(value)]
    return words
