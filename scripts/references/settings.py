"""The made part of `docs/reference/settings.md`: every setting of the server, with all its spellings."""

from __future__ import annotations

import re
from typing import Any, get_type_hints

import click
import msgspec

from perdure.base.durations import format_duration
from perdure.cli.serve import serve
from perdure.settings import _DURATIONS, ServerSettings
from scripts.references.regions import Maker, table


def settings_table() -> str:
    options = {option.name: option for option in serve.params if isinstance(option, click.Option)}
    rows = (_row(name, options[name]) for name in ServerSettings.__struct_fields__)
    return table(("flag", "variable", "`perdure.toml`", "default", ""), rows)


def _row(name: str, option: click.Option) -> tuple[str, ...]:
    flag = next(spelling for spelling in option.opts if spelling.startswith("--"))
    return f"`{flag}`", f"`PERDURE_{name.upper()}`", f"`{name}`", _default(name, option), _about(name, option)


def _default(name: str, option: click.Option) -> str:
    value = getattr(ServerSettings(), name)
    if name in _DURATIONS:
        return f"`{format_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in (None, []):
        shown = re.search(r"\[(.*)\]$", option.help or "")
        return shown[1] if shown else ""
    return f"`{value}`"


def _about(name: str, option: click.Option) -> str:
    text = re.sub(r"\s*\[.*\]$", "", option.help or "")
    hint = get_type_hints(ServerSettings, include_extras=True)[name]
    return " ".join([text, *_range(hint)])


def _range(hint: Any) -> list[str]:
    for one in (hint, *getattr(hint, "__args__", ())):
        for meta in getattr(one, "__metadata__", ()):
            if isinstance(meta, msgspec.Meta) and meta.ge is not None and meta.le is not None:
                return [f"From {meta.ge:,} to {meta.le:,}."]
    return []


MAKERS: dict[str, Maker] = {"settings": settings_table}
