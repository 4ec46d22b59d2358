"""Finding a node's Python function: in the flow folders first, then in the environment."""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from importlib.abc import MetaPathFinder
from types import CodeType, ModuleType
from typing import Any

from perdure.model.failure import Failure
from perdure.nodes.interface import NodeFailed

_CO_GENERATOR = 0x20
_CO_COROUTINE = 0x80
_CO_ASYNC_GENERATOR = 0x200
_RESERVED = sys.stdlib_module_names | {"perdure"}


class Kind(StrEnum):
    """How a function is to be called."""

    SYNC = "sync"
    ASYNC = "async"
    GENERATOR = "generator"
    ASYNC_GENERATOR = "async_generator"

    @property
    def is_async(self) -> bool:
        return self in {Kind.ASYNC, Kind.ASYNC_GENERATOR}


def load_function(target: str) -> Callable[..., Any]:
    """Import `module:function` (dots after the colon reach into classes).

    Raises NodeFailed (`function_not_found`) when there is none; what the module itself raises
    while it is imported comes through.
    """
    name, _, path = target.partition(":")
    try:
        if name not in sys.modules:
            # A folder's cached listing may be older than a file that was just written.
            importlib.invalidate_caches()
        # Also where it is there already: another thread may be in the middle of importing it.
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _not_found(f"there is no module {name!r} in the flow folders, nor in the environment") from None
        raise
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            where = getattr(found, "__file__", None) or getattr(found, "__qualname__", name)
            raise _not_found(f"{name!r} ({where}) has no {path!r}") from None
    if not callable(found):
        raise _not_found(f"{target!r} is no function but {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def kind_of(function: Callable[..., Any]) -> Kind:
    """By the code's flags, through partials, methods and objects with `__call__`."""
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = getattr(inner, "__func__", inner)
    code = getattr(inner, "__code__", None)
    if code is None and not isinstance(inner, type):
        calls = (vars(cls)["__call__"] for cls in type(inner).__mro__ if "__call__" in vars(cls))
        code = getattr(next(calls, None), "__code__", None)
    flags = code.co_flags if isinstance(code, CodeType) else 0
    if flags & _CO_COROUTINE:
        return Kind.ASYNC
    if flags & _CO_ASYNC_GENERATOR:
        return Kind.ASYNC_GENERATOR
    return Kind.GENERATOR if flags & _CO_GENERATOR else Kind.SYNC


def file_of(target: str) -> str | None:
    """The file of the target's module, which is imported already."""
    return getattr(sys.modules.get(target.partition(":")[0]), "__file__", None)


def loaded_sources(folders: Sequence[str]) -> dict[str, int]:
    """Modification times (ns) of the files in the flow folders that are imported in this process."""
    found = {}
    for module in modules_of(folders):
        path = module.__file__ or ""
        try:
            found[path] = os.stat(path).st_mtime_ns
        except OSError:
            found[path] = 0
    return found


def modules_of(folders: Sequence[str]) -> list[ModuleType]:
    prefixes = tuple(f"{folder.rstrip(os.sep)}{os.sep}" for folder in folders)
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    return [module for module in modules if (getattr(module, "__file__", None) or "").startswith(prefixes or ("\0",))]


def has_changed(sources: Iterable[tuple[str, int]]) -> bool:
    """Whether one of these files was written or removed since."""
    for path, modified in sources:
        try:
            if os.stat(path).st_mtime_ns != modified:
                return True
        except OSError:
            if modified:
                return True
    return False


class FlowFolderFinder(MetaPathFinder):
    """Lets the engine's own process import from the flow folders, for inline and thread nodes.

    Names of the standard library and of perdure are never served: a flow's `email.py` must not
    become the engine's.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = list(folders)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is not None or fullname in _RESERVED:
            return None
        return importlib.machinery.PathFinder.find_spec(fullname, self.folders)

    def install(self) -> None:
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self.forget()

    def forget(self) -> None:
        """Drop what was imported from the folders, so that the next import reads the files anew."""
        for module in modules_of(self.folders):
            sys.modules.pop(module.__name__, None)
        importlib.invalidate_caches()


def _not_found(message: str) -> NodeFailed:
    return NodeFailed(
        Failure(code="function_not_found", message=message, retryable=False, error_types=("function_not_found",))
    )
