"""How a server is set up: flag > `PERDURE_*` > `perdure.toml` > default, for every setting alike."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta

from perdure.api.streaming import StreamLimits
from perdure.base.clock import MINUTE, SECOND
from perdure.base.durations import format_duration, parse_duration
from perdure.base.nearest import nearest_or_all
from perdure.engine.retention import parse_retention
from perdure.engine.settings import EngineSettings
from perdure.errors import InvalidSettings, Problem

CONFIG_FILE = "perdure.toml"
_PREFIX = "PERDURE_"
_FROM_FILE = "_FILE"
_SHARED = frozenset({"postgresql", "postgres"})
DEFAULT_PORT = 8000
_LISTS = {"flows": ":", "queues": ":", "tags": ":", "allow_private_hosts": ",", "pass_env": ","}
"""Settings that are lists, and what sets their parts apart in a variable."""
_DURATIONS = frozenset(
    {"grace", "cleanup_grace", "drain", "lease", "recycle_after", "recycle_pause", "stream_stall", "stream_ping"}
)
_RETENTION = "retention"
_SIZES = frozenset({"port", "pool_size", "quarantine_size"})
"""Whole numbers without a default of their own."""


class ServerSettings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What `perdure serve` can be told. Durations are microseconds (written as `30s` outside)."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    """0 takes any free one; None is 8000 for a server, and none at all for a worker."""
    home: Path = Path(".perdure")
    """Where the store, artifacts and the lock live."""
    store: str | None = None
    """`sqlite:PATH`, or `postgresql://user@host:port/database`; None is `perdure.db` in the home."""
    artifacts: Path | None = None
    """Where the contents of artifacts and large values are kept: a folder that all who share the store have. None is
    the folder in the home for a store of one process, and the database for a shared one."""
    flows: list[Path] = msgspec.field(default_factory=list)
    """Folders of flows, loaded and watched."""
    queues: list[str] | None = None
    """Queues to run executions of; None is all of them."""
    tags: list[str] = msgspec.field(default_factory=list)
    """What flows may require of the process that runs them, and this one has."""
    no_worker: bool = False
    """Whether a server leaves all executions to other processes on the same store."""
    lease: Annotated[int, Meta(ge=SECOND)] = 30 * SECOND
    """After so long without a sign of life a process on a shared store counts as dead; the same for all of them."""
    slots: Annotated[int, Meta(ge=1, le=100_000)] = 256
    """Executions that this process runs at once."""
    pool_size: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Warm processes for Python nodes."""
    quarantine_size: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Processes for attempts of executions that crashed twice in a row."""
    worker_name: str | None = None
    allow_private_addresses: bool = False
    """Whether http nodes may reach private networks."""
    allow_private_hosts: list[str] = msgspec.field(default_factory=list)
    """Hosts, addresses and networks that http nodes may reach although they are private."""
    pass_env: list[str] = msgspec.field(default_factory=list)
    """Variables of the server's environment that shell nodes get besides PATH, HOME, LANG, LC_ALL, TZ and TMPDIR."""
    grace: Annotated[int, Meta(ge=0)] = 10 * SECOND
    """What a stopped attempt is given before it is killed."""
    cleanup_grace: Annotated[int, Meta(ge=0)] = 60 * SECOND
    """What cleaning nodes are given after a cancel or a timeout."""
    drain: Annotated[int, Meta(ge=0)] = 30 * SECOND
    """What running attempts are given when the server stops."""
    recycle_after: Annotated[int, Meta(ge=0)] = 30 * SECOND
    """How long work that could not be stopped may live on before the process replaces itself."""
    recycle_pause: Annotated[int, Meta(ge=SECOND)] = 5 * MINUTE
    """The least time between two such replacements."""
    streams: Annotated[int, Meta(ge=1, le=100_000)] = 5_000
    """Event streams that may be open at once."""
    stream_ping: Annotated[int, Meta(ge=SECOND)] = 15 * SECOND
    """Silence after which an event stream is pinged."""
    stream_stall: Annotated[int, Meta(ge=SECOND)] = 30 * SECOND
    """How long a reader of an event stream may stand still before it is cut."""
    retention: str = "30d"
    """For how long what has ended is kept; as `perdure.engine.retention.parse_retention` takes it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto` is console on a terminal and JSON elsewhere."""

    def store_path(self) -> Path:
        """The SQLite file. Raises InvalidSettings for a store of another kind."""
        if self.store is None:
            return self.home / "perdure.db"
        scheme, separator, rest = self.store.partition(":")
        if scheme == "sqlite" and separator:
            return Path(rest.removeprefix("//") or rest)
        if separator and "://" in self.store:
            raise InvalidSettings(f"a store of the kind {scheme!r} is no file; write sqlite:PATH")
        return Path(self.store)

    def shared_store(self) -> str | None:
        """The URL of a store that several processes share, with its credentials; None for a store of one process."""
        shared = self.store is not None and self.store.partition(":")[0] in _SHARED and "://" in self.store
        return self.store if shared else None

    def store_shown(self) -> str:
        """What names the store in messages: without credentials."""
        url = self.shared_store()
        if url is None:
            return str(self.store_path())
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def engine_settings(self) -> EngineSettings:
        settings = EngineSettings(
            home=self.home,
            artifacts=self.artifacts,
            flow_folders=list(self.flows),
            slots=self.slots,
            queues=None if self.queues is None else tuple(self.queues),
            tags=tuple(self.tags),
            works=not self.no_worker,
            lease=self.lease,
            pool_size=self.pool_size,
            quarantine_size=self.quarantine_size,
            allow_private_addresses=self.allow_private_addresses,
            allow_private_hosts=tuple(self.allow_private_hosts),
            pass_env=tuple(self.pass_env),
            grace=self.grace,
            cleanup_grace=self.cleanup_grace,
            drain=self.drain,
            retention=parse_retention(self.retention),
        )
        return settings if self.worker_name is None else msgspec.structs.replace(settings, worker_name=self.worker_name)

    def stream_limits(self) -> StreamLimits:
        return StreamLimits(streams=self.streams, ping=self.stream_ping, stall=self.stream_stall)


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str], folder: Path) -> ServerSettings:
    """The settings from all their sources.

    Args:
        flags: settings by name as given on the command line; None where not given.
        environ: the environment; `PERDURE_<NAME>`, or `PERDURE_<NAME>_FILE` with the path of a file that holds
            the value; lists are set apart by `:`, hosts and names of variables by `,`.
        folder: where `perdure.toml` is looked for, unless `PERDURE_CONFIG` names a file.

    Raises InvalidSettings that names the source and lists every problem.
    """
    named = environ.get(f"{_PREFIX}CONFIG")
    path = folder / CONFIG_FILE if named is None else Path(named)
    given: dict[str, Any] = {}
    if named is not None or path.exists():
        given |= _read(f"the file {path}", _toml(path), _key)
    given |= _read("the environment", _from_environ(environ), lambda name: _variable(name, environ))
    chosen = {name: value for name, value in flags.items() if value is not None}
    given |= _read("the command line", chosen, lambda name: f"--{name.replace('_', '-')}")
    return ServerSettings(**given)


def _read(source: str, raw: Mapping[str, Any], spelled: Callable[[str], str]) -> dict[str, Any]:
    """One source's values, checked one by one so that a problem names where it comes from.

    `spelled` is how the source writes a setting's name.
    """
    fields = {field.name: field for field in msgspec.structs.fields(ServerSettings)}
    values: dict[str, Any] = {}
    problems = []
    for name, value in raw.items():
        if name not in fields:
            detail = f'there is no setting "{name}"{nearest_or_all(name, fields)}'
            problems.append(Problem("unknown_setting", detail, parameter=spelled(name)))
            continue
        try:
            values[name] = msgspec.convert(_value(name, value), fields[name].type, dec_hook=_path)
        except (ValueError, msgspec.ValidationError):
            detail = f"{_shown(value)} does not fit; give {_wanted(name, fields[name].type)}"
            problems.append(Problem("invalid_setting", detail, parameter=spelled(name)))
    if problems:
        names = ", ".join(str(problem.parameter) for problem in problems)
        raise InvalidSettings(f"{source} has settings that are not valid: {names}", problems=tuple(problems))
    return values


def _key(name: str) -> str:
    return name


def _variable(name: str, environ: Mapping[str, str]) -> str:
    variable = _PREFIX + name.upper()
    return variable + _FROM_FILE if variable + _FROM_FILE in environ else variable


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= 80 else f"{text[:79]}…"


def _wanted(name: str, kind: Any) -> str:
    """What a setting takes, in words, from its type."""
    bounds = [meta for one in (kind, *get_args(kind)) for meta in getattr(one, "__metadata__", ())]
    low, high = (bounds[0].ge, bounds[0].le) if bounds else (None, None)
    if name in _DURATIONS:
        return f"a duration of {format_duration(low or 0)} or more, such as 500ms, 30s, 10m or 1h30m"
    if name == _RETENTION:
        return "a duration, forever, or rules such as 30d,failed=90d,billing=7d,billing/failed=forever"
    if low is not None:
        return f"a whole number from {low} to {high}"
    if kind is bool:
        return "true or false"
    options = [option for option in get_args(kind) if isinstance(option, str)]
    if options:
        return f"one of {', '.join(options)}"
    kinds = {one for one in (kind, *get_args(kind)) if one is not NoneType}
    return "a list of texts" if name in _LISTS else "a path" if Path in kinds else "a text"


def _path(type: type, value: Any) -> Any:
    if type is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    raise ValueError(f"{value!r} is not of the type {type.__name__}")


def _value(name: str, value: Any) -> Any:
    """From the form in which people write a setting to the one that it has inside."""
    if name == _RETENTION:
        return str(parse_retention(value))
    if name in _DURATIONS and isinstance(value, str | int | float) and not isinstance(value, bool):
        return parse_duration(value)
    return value


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} is no TOML: {error}") from None


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ServerSettings.__struct_fields__:
        variable = _PREFIX + name.upper()
        text = environ.get(variable)
        file = environ.get(variable + _FROM_FILE)
        if file is not None:
            if text is not None:
                raise InvalidSettings(f"{variable} and {variable}{_FROM_FILE} are both set; set one of them")
            try:
                text = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidSettings(f"the file of {variable}{_FROM_FILE} cannot be read: {error}") from None
        if text is not None and text != "":
            values[name] = _from_text(name, text)
    return values


def _from_text(name: str, text: str) -> Any:
    """A variable's text as the value that its setting takes; what does not fit stays text and is refused later."""
    if name in _LISTS:
        return [part for part in text.split(_LISTS[name]) if part]
    if name in _DURATIONS:
        return text
    default = getattr(ServerSettings(), name)
    if isinstance(default, bool):
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text.lower(), text)
    if isinstance(default, int) or name in _SIZES:
        return int(text) if text.isascii() and text.isdigit() else text
    return text
