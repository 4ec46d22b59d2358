"""Which server to talk to, and as whom: flag > environment > profile in a file > the local server > the default.

The file is `$XDG_CONFIG_HOME/perdure/config.toml` (`~/.config/perdure/config.toml`):

    profile = "prod"                # the one to use when none is named

    [profiles.prod]
    url = "https://perdure.example.org"
    token_file = "~/.config/perdure/prod.token"
    workspace = "reports"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from perdure.client.errors import ProfileError

DEFAULT_URL = "http://127.0.0.1:8000"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A server to talk to. `source` says where the URL came from, for messages and `doctor`."""

    url: str
    token: str | None = None
    workspace: str | None = None
    source: str


class _Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str | None = None
    token: str | None = None
    token_file: str | None = None
    workspace: str | None = None


class _Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profile: str | None = None
    profiles: dict[str, _Profile] = {}


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the file is looked for; it need not exist."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path(environ.get("HOME", "~")).expanduser() / ".config") / "perdure" / "config.toml"


def resolve_target(
    environ: Mapping[str, str],
    *,
    url: str | None = None,
    token: str | None = None,
    workspace: str | None = None,
    profile: str | None = None,
    local_url: str | None = None,
) -> Target:
    """The server that the given flags, the environment and the file name together.

    Args:
        url, token, workspace, profile: flags; None where not given.
        local_url: URL of a server that runs on the local home, when there is one.

    Raises ProfileError. A profile's token goes to that profile's URL only, never to one from elsewhere.
    """
    chosen = _chosen_profile(environ, profile)
    env_url = environ.get("PERDURE_URL") or None
    named = [("the option --url", url), ("PERDURE_URL", env_url), (f"the profile {chosen[0]!r}", chosen[1].url)]
    local = [("the server running here", local_url), ("the default", DEFAULT_URL)]
    source, found = next((source, value) for source, value in [*named, *local] if value)
    from_profile = url is None and env_url is None
    return Target(
        url=found,
        token=token or _env_token(environ) or (_profile_token(chosen[1], chosen[0]) if from_profile else None),
        workspace=workspace or environ.get("PERDURE_WORKSPACE") or (chosen[1].workspace if from_profile else None),
        source=source,
    )


def _chosen_profile(environ: Mapping[str, str], name: str | None) -> tuple[str, _Profile]:
    path = config_path(environ)
    config = _read_config(path)
    name = name or environ.get("PERDURE_PROFILE") or config.profile
    if name is None:
        return "default", config.profiles.get("default", _Profile())
    if name not in config.profiles:
        known = ", ".join(sorted(config.profiles)) or "none"
        raise ProfileError(f"there is no profile {name!r} in {path} (there: {known})")
    return name, config.profiles[name]


def _read_config(path: Path) -> _Config:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(data, _Config)
    except FileNotFoundError:
        return _Config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ProfileError(f"{path}: {error}") from error


def _env_token(environ: Mapping[str, str]) -> str | None:
    if token := environ.get("PERDURE_TOKEN"):
        return token
    if path := environ.get("PERDURE_TOKEN_FILE"):
        return _read_token(Path(path), "PERDURE_TOKEN_FILE")
    return None


def _profile_token(profile: _Profile, name: str) -> str | None:
    if profile.token is not None:
        return profile.token
    if profile.token_file is not None:
        return _read_token(Path(profile.token_file), f"the profile {name!r}")
    return None


def _read_token(path: Path, named_by: str) -> str:
    try:
        token = path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"the token file that {named_by} names cannot be read: {error}") from error
    if not token:
        raise ProfileError(f"the token file that {named_by} names is empty: {path}")
    return token
