"""An event loop beside the tests' own, on which plain code and tests alike talk to a store."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")
_OURS = ("perdure.store.reads", "perdure.store.text_index")


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The one of this process; its thread ends with it."""
    made = uvloop.new_event_loop()
    threading.Thread(target=made.run_forever, name="portal", daemon=True).start()
    return made


def call(function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """What a coroutine function answers, for code that does not run on a loop or may block its own."""
    return asyncio.run_coroutine_threadsafe(function(*args), loop()).result()


class Ported:
    """Something whose coroutines all run on that loop, whichever loop awaits them."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if inspect.iscoroutinefunction(found):

            async def ported(*args: Any, **keywords: Any) -> Any:
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(found(*args, **keywords), loop()))

            return ported
        return Ported(found) if type(found).__module__.startswith(_OURS) else found
