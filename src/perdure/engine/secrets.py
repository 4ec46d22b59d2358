"""Secrets as expressions see them, and their masking wherever something is recorded.

They come from the environment: `PERDURE_SECRET_<NAME>`, or `PERDURE_SECRET_<NAME>_FILE` with a file's path;
the name is written in lower case in expressions: `${secrets.target}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_PREFIX = "PERDURE_SECRET_"
_FILE = "_FILE"
MASK = "***"
_SHORTEST = 4
"""A shorter secret is not masked: it would blank out ordinary text."""


def read_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Raises OSError when a secret's file cannot be read."""
    secrets = {}
    for variable, value in environment.items():
        if not variable.startswith(_PREFIX):
            continue
        name = variable.removeprefix(_PREFIX)
        if name.endswith(_FILE):
            name, value = name.removesuffix(_FILE), Path(value).read_text().rstrip("\n")
        secrets[name.lower()] = value
    return secrets


class Masker:
    """Replaces every secret's value in a text."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        values = {value for value in secrets.values() if len(value) >= _SHORTEST}
        escaped = {value.encode("unicode_escape").decode().replace('"', '\\"') for value in values}
        self._values = sorted(values | escaped, key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._values)

    def mask(self, text: str) -> str:
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text
