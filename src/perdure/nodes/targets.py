"""Whether a Python target is there, judged by what lies on disk: nothing is imported and nothing runs."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)

import msgspec

from perdure.base.nearest import nearest

_FOLDERS_SHOWN = 4
_LOADERS = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (SourceFileLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)
_SOURCE_BYTES = 1024 * 1024
"""Longer files are not looked into."""
_MAKE_NAMES = frozenset({"globals", "exec", "setattr", "__path__"})
"""A module that has these may hold, or lead to, what its text does not show."""


class Outline(msgspec.Struct):
    """The names that a module or a class binds, plain classes with their own outline.

    `is_open`: there may be others, which only running it would tell. `fault`: it does not parse.
    """

    names: dict[str, Outline | None] = {}
    is_open: bool = False
    fault: str | None = None


_UNKNOWN = Outline(is_open=True)


def doubt(target: str, folders: Sequence[str]) -> str | None:
    """Why `module:function` will hardly be found; None when it is there, or when only running code would tell.

    Args:
        folders: where modules are looked for first, before the environment of this process.
    """
    module, _, path = target.partition(":")
    found = _find(module, folders)
    if isinstance(found, str):
        return found
    if found is None:
        return None
    if found.loader is None:
        return f"{module!r} is a folder without __init__.py, so it has no {path!r}"
    outline = _outline_of(found)
    if outline.fault is not None:
        return f"{module!r} ({found.origin}) is no Python: {outline.fault}"
    for part in path.split("."):
        if part not in outline.names:
            if outline.is_open:
                return None
            return f"{module!r} ({found.origin}) has no {path!r}{nearest(part, outline.names)}"
        inner = outline.names[part]
        if inner is None:
            return None
        outline = inner
    return None


def _find(module: str, folders: Sequence[str]) -> ModuleSpec | str | None:
    """The module's spec; a text that says what is missing; None when that cannot be known."""
    # A folder's cached listing may be older than a file that was just written.
    importlib.invalidate_caches()
    parts = module.split(".")
    spec = _find_top(parts[0], folders)
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        if spec is None:
            shown = [*folders[:_FOLDERS_SHOWN], *(["…"] if len(folders) > _FOLDERS_SHOWN else [])]
            where = f" ({', '.join(shown)})" if folders else ""
            return f"there is no module {name!r} in the flow folders{where}, nor in the environment"
        if depth == len(parts):
            return spec
        if spec.submodule_search_locations is None:
            if parts[0] in sys.stdlib_module_names:
                # os.path: some modules of the standard library hold others without being packages.
                return None
            return f"{name!r} is no package, so there is no module {module!r}"
        locations = list(spec.submodule_search_locations)
        inner = _find_in(locations, ".".join(parts[: depth + 1]))
        if inner is None and not (all(map(os.path.isdir, locations)) and _is_closed(spec)):
            return None
        spec = inner
    return spec


def _find_top(name: str, folders: Sequence[str]) -> ModuleSpec | None:
    """In the folders, else in the environment; a real module goes before folders without __init__.py."""
    beside = _find_in(folders, name)
    if beside is not None and beside.loader is not None:
        return beside
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None)
        if spec is not None:
            if spec.loader is None and beside is not None:
                portions = [*(beside.submodule_search_locations or ()), *(spec.submodule_search_locations or ())]
                beside.submodule_search_locations = portions
                return beside
            return spec
    return beside


def _find_in(folders: Iterable[str], name: str) -> ModuleSpec | None:
    """As the import system's own finder looks into folders, but without asking the package around it."""
    portions: list[str] = []
    for folder in folders:
        spec = FileFinder(folder, *_LOADERS).find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None:
            portions += spec.submodule_search_locations or ()
    if not portions:
        return None
    merged = ModuleSpec(name, None, is_package=True)
    merged.submodule_search_locations = portions
    return merged


def _is_closed(package: ModuleSpec) -> bool:
    """Whether its modules are surely those in its folders."""
    return package.loader is None or not _outline_of(package).is_open


def _outline_of(spec: ModuleSpec) -> Outline:
    if not isinstance(spec.loader, SourceFileLoader) or spec.origin is None:
        return _UNKNOWN
    try:
        seen = os.stat(spec.origin)
    except OSError:
        return _UNKNOWN
    return _outline_of_file(spec.origin, seen.st_mtime_ns, seen.st_size)


@lru_cache(maxsize=256)
def _outline_of_file(path: str, _modified: int, size_bytes: int) -> Outline:
    """Remembered for a file as it was written last."""
    if size_bytes > _SOURCE_BYTES:
        return _UNKNOWN
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(_SOURCE_BYTES), filename=path)
    except SyntaxError as error:
        return Outline(fault=f"line {error.lineno}: {error.msg}")
    except (OSError, ValueError, RecursionError, MemoryError):
        return _UNKNOWN
    outline = _outline(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            outline.names.update(dict.fromkeys(node.names))
        elif isinstance(node, ast.Name) and node.id in _MAKE_NAMES:
            outline.is_open = True
    return outline


def _outline(body: Sequence[ast.stmt]) -> Outline:
    """What these statements bind, whichever branch is taken; functions are not looked into."""
    outline = Outline()
    open_nodes: list[ast.AST] = [*body]
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            outline.names[node.name] = None
            outline.is_open |= node.name == "__getattr__"
        elif isinstance(node, ast.ClassDef):
            is_plain = not (node.bases or node.keywords or node.decorator_list)
            outline.names[node.name] = _outline(node.body) if is_plain else None
        elif isinstance(node, ast.alias):
            outline.is_open |= node.name == "*"
            outline.names[node.asname or node.name.partition(".")[0]] = None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            outline.names[node.id] = None
        elif not isinstance(node, ast.Lambda):
            open_nodes += ast.iter_child_nodes(node)
    return outline
