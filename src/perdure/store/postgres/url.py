"""The address of a store: what asyncpg understands, and a few words of our own in the query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from perdure.errors import InvalidSettings

SCHEMES = ("postgresql", "postgres")
DEFAULT_SCHEMA = "perdure"
DEFAULT_POOL = 6

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_HOST = re.compile(r"(?:\[[^\[\]@/:]*:[^\[\]@/]*\]|[^\[\]@/:]*)(?::(?P<port>[0-9]{1,5}))?")
_PARAMETER = re.compile(r"[a-z_][a-z0-9_.]*")
_HIGHEST_PORT = 65_535
_UNREADABLE = (
    "the URL of the PostgreSQL store cannot be read; write postgresql://user:password@host:port/database?name=value, "
    "and in a user's name or password %40 for @, %3A for :, %2F for /, %3F for ?, %23 for #, %5B and %5D for [ and ]"
)
"""It repeats nothing: what cannot be read may be a part of a password."""
_BOOLEANS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a store is and how it is spoken to.

    `schema` keeps our tables apart from others of the same database. `pool` is the most connections that
    read at a time; one more writes. Without `listen` nothing is waited for by LISTEN. Without `prepare`
    nothing outlives a transaction on its connection, as a transaction-pooling proxy needs it.
    """

    dsn: str
    """For asyncpg: without our own words, with the credentials."""
    place: str
    """`host:port/database`, for messages: without credentials."""
    schema: str = DEFAULT_SCHEMA
    pool: int = DEFAULT_POOL
    listen: bool = True
    prepare: bool = True
    has_replicas: bool = False
    """More than one host: the one that can be written to is looked for."""

    def __repr__(self) -> str:
        """Without the credentials."""
        return f"Address({self.place!r}, schema={self.schema!r})"


def parse_url(url: str) -> Address:
    """Raises `InvalidSettings` for what is no address of a PostgreSQL store."""
    parts = _split(url)
    if parts.scheme not in SCHEMES:
        raise InvalidSettings(f"a PostgreSQL store is named postgresql://user@host:port/database, not {parts.scheme}:")
    ours: dict[str, str] = {}
    theirs: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in ("schema", "pool", "listen", "prepare"):
            ours[name] = value
        else:
            theirs.append((name, value))
    if not _is_readable(parts, theirs):
        raise InvalidSettings(_UNREADABLE)
    hosts = parts.netloc.rpartition("@")[2]
    given = dict(theirs)
    named = hosts or given.get("host") or "localhost"
    database = parts.path.lstrip("/") or given.get("dbname") or given.get("database") or ""
    return Address(
        dsn=urlunsplit(parts._replace(query=urlencode(theirs))),
        place=f"{named}/{database}",
        schema=_schema(ours.get("schema", DEFAULT_SCHEMA)),
        pool=_pool(ours.get("pool", str(DEFAULT_POOL))),
        listen=_boolean("listen", ours.get("listen", "true")),
        prepare=_boolean("prepare", ours.get("prepare", "true")),
        has_replicas="," in named,
    )


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # Its words would repeat what it could not read.
        raise InvalidSettings(_UNREADABLE) from None


def _is_readable(parts: SplitResult, parameters: Sequence[tuple[str, str]]) -> bool:
    """Whether no part of it can be a rest of a login in which something is written as it must not be."""
    user, separator, hosts = parts.netloc.rpartition("@")
    if "@" in (user if separator else parts.query) or "@" in parts.path or parts.fragment:
        return False
    ports = [f":{port}" for name, value in parameters if name == "port" for port in value.split(",") if port]
    return all(map(_is_place, [*hosts.split(","), *ports])) and all(
        _PARAMETER.fullmatch(name) for name, _ in parameters
    )


def _is_place(text: str) -> bool:
    """`host:port`, each of which may be left out."""
    match = _HOST.fullmatch(text)
    return match is not None and (match["port"] is None or 1 <= int(match["port"]) <= _HIGHEST_PORT)


def with_schema(url: str, schema: str) -> str:
    """The same database, another schema of it."""
    parts = urlsplit(url)
    words = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "schema"]
    return urlunsplit(parts._replace(query=urlencode([*words, ("schema", schema)])))


def _schema(text: str) -> str:
    if _IDENTIFIER.fullmatch(text) is None or text.startswith("pg_"):
        raise InvalidSettings(f"schema={text!r} of the store is no plain name of a schema ([a-z_][a-z0-9_]*)")
    return text


def _pool(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise InvalidSettings(f"pool={text!r} of the store must be a number of connections from 1 to 100")
    return int(text)


def _boolean(name: str, text: str) -> bool:
    found = _BOOLEANS.get(text.lower())
    if found is None:
        raise InvalidSettings(f"{name}={text!r} of the store must be true or false")
    return found
