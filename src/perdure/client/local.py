"""The store of this folder, and the server that runs on it where there is one.

Read without the server's own settings module: every command asks this, and most need nothing else of it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

CONFIG_FILE = "perdure.toml"


class Owner(msgspec.Struct, frozen=True):
    """Who holds a store: its process, and where it answers (None for one that serves nobody)."""

    pid: int
    url: str | None = None


def local_database(environ: Mapping[str, str]) -> Path:
    """Where `perdure serve` without flags would keep its store: as `ServerSettings.store_path` has it."""
    path = Path(environ.get("PERDURE_CONFIG") or CONFIG_FILE)
    try:
        file = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        file = {}
    store = environ.get("PERDURE_STORE") or file.get("store")
    if isinstance(store, str) and store:
        rest = store.removeprefix("sqlite:")
        return Path(rest.removeprefix("//") or rest)
    return Path(environ.get("PERDURE_HOME") or file.get("home") or ".perdure").expanduser() / "perdure.db"


def running_owner(database: Path) -> Owner | None:
    """The living process that the store's lock file names."""
    try:
        text = database.with_name(database.name + ".lock").read_bytes()
        owner = msgspec.json.decode(text, type=Owner)
    except (OSError, msgspec.MsgspecError):
        return None
    return owner if _is_alive(owner.pid) else None


def running_server_url(environ: Mapping[str, str]) -> str | None:
    """Where the server on the local store answers; None when none runs."""
    owner = running_owner(local_database(environ))
    return None if owner is None else owner.url


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
