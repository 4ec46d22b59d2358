"""What a node's code gave back, as JSON or as a failure."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any

import msgspec

from perdure.base.codec import VALUE_LIMIT, Json, decode, encode, holds_non_finite
from perdure.base.texts import recordable
from perdure.model.failure import Failure
from perdure.nodes.interface import NodeFailed

MAX_MESSAGE = 8 * 1024
MAX_STACK = 64 * 1024
_TOLD_YIELDS = 100
_YIELD_PAUSE_S = 0.1
_LIBRARY = os.path.dirname(os.__file__)
_MACHINERY = (
    os.path.dirname(__file__) + os.sep,
    os.path.join(_LIBRARY, "asyncio") + os.sep,
    os.path.join(_LIBRARY, "importlib") + os.sep,
    "<frozen importlib",
)
"""Where the outermost frames of a traceback are not the user's."""
_SCALARS = frozenset({type(None), bool})


def as_json(value: Any) -> Json:
    """The value as plain JSON, detached from what the node's code may still hold of it.

    Raises as `json_of` does.
    """
    return value if type(value) in _SCALARS else decode(json_of(value))


def json_of(value: Any) -> bytes:
    """The value as JSON text of at most `VALUE_LIMIT` bytes.

    Dataclasses, msgspec Structs, datetimes, tuples, sets, enums and the like become what msgspec
    writes for them. Raises NodeFailed (`invalid_output` with the type that is no JSON,
    `limit_exceeded`).
    """
    try:
        data = encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError, msgspec.MsgspecError) as error:
        foreign = _foreign_type(value) or type(value).__qualname__
        raise NodeFailed(
            Failure(
                code="invalid_output",
                message=shortened(f"the output holds {foreign}, which is no JSON value: {error}", MAX_MESSAGE),
                details={"type": foreign},
                retryable=False,
                error_types=("invalid_output",),
            )
        ) from None
    if holds_non_finite(value, data):
        message = "the output holds NaN or an infinity, which JSON cannot express; return null or text for it"
        raise NodeFailed(Failure(code="invalid_output", message=message, retryable=False))
    if len(data) > VALUE_LIMIT:
        raise NodeFailed(too_large(len(data)))
    return data


def too_large(size: int) -> Failure:
    return Failure(
        code="limit_exceeded",
        message=f"the output has {size} bytes as JSON, at most {VALUE_LIMIT} are allowed; publish it as an artifact",
        details={"size_bytes": size, "limit_bytes": VALUE_LIMIT},
        retryable=False,
        error_types=("limit_exceeded",),
    )


def failure_of(error: BaseException) -> Failure:
    """A `node_failed` with the traceback of the user's frames, for what a node's code raised."""
    types = tuple(cls.__name__ for cls in type(error).__mro__ if cls is not object)
    return Failure(
        code="node_failed",
        message=shortened(f"{type(error).__qualname__}: {_text_of(error)}".removesuffix(": "), MAX_MESSAGE),
        stack=_stack_of(error),
        error_types=types,
    )


class Yielded:
    """The list of what a generator yields, bounded as a whole like any output."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self._told = told
        self._items: list[bytes] = []
        self._size = 2

    def add(self, item: Any) -> None:
        """Raises as `json_of` does."""
        data = json_of(item)
        self._size += len(data) + 1
        if self._size > VALUE_LIMIT + 1:
            raise NodeFailed(too_large(self._size))
        self._items.append(data)
        self._told(len(self._items))

    def json(self) -> bytes:
        return b"[" + b",".join(self._items) + b"]"


def collected(generator: Iterable[Any], told: Callable[[int], None]) -> bytes:
    """What a generator yields, as a JSON list; `told` hears how many these are by now. Raises as `json_of` does."""
    items = Yielded(told)
    for item in generator:
        items.add(item)
    return items.json()


async def collected_async(generator: AsyncIterable[Any], told: Callable[[int], None]) -> bytes:
    """The same of an async generator."""
    items = Yielded(told)
    async for item in generator:
        items.add(item)
    return items.json()


async def awaited(awaitable: Awaitable[Any]) -> Any:
    """Any awaitable as a coroutine, which is what asyncio runs."""
    return await awaitable


class YieldPace:
    """Which of a generator's yields are told as progress: the first hundred, then ten a second at most."""

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self, count: int) -> bool:
        now = time.monotonic()
        if count > _TOLD_YIELDS and now < self._next:
            return False
        self._next = now + _YIELD_PAUSE_S
        return True


def shortened(text: str, limit: int) -> str:
    """The head and the tail of a text that is too long, valid as UTF-8."""
    text = recordable(text)
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _stack_of(error: BaseException) -> str | None:
    stack = error.__traceback__
    while stack is not None and stack.tb_frame.f_code.co_filename.startswith(_MACHINERY):
        stack = stack.tb_next
    try:
        told = traceback.TracebackException(type(error), error, stack, limit=-100, compact=True)
        return shortened("".join(told.format()), MAX_STACK)
    except Exception:
        return None


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<its text cannot be had>"


def _foreign_type(value: Any, depth: int = 0) -> str | None:
    """The name of the first type in the value that is no JSON."""
    if isinstance(value, dict):
        parts: Any = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    else:
        try:
            encode(value)
        except Exception:
            return type(value).__qualname__
        return None
    if depth > 50:
        return None
    return next((name for part in parts if (name := _foreign_type(part, depth + 1))), None)
