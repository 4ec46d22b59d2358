"""Node type `python`: a function of the user's code."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from perdure.base.codec import Json, decode
from perdure.errors import ControlFlow, Problem
from perdure.model.definition import Isolation
from perdure.nodes.authoring import CURRENT
from perdure.nodes.inline import drive
from perdure.nodes.interface import Call, NodeFailed
from perdure.nodes.isolation import wire
from perdure.nodes.isolation.supervision import surely
from perdure.nodes.local_attempt import LocalAttempt, context_of
from perdure.nodes.modules import Kind, file_of, has_changed, kind_of, load_function, loaded_sources
from perdure.nodes.output import as_json, awaited, collected, collected_async, failure_of
from perdure.nodes.runtime import NodeRuntime
from perdure.nodes.targets import doubt
from perdure.nodes.threads import end_threads, run_in_thread

_TARGET = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
_IS_TARGET = re.compile(_TARGET).fullmatch
_FULL_CHECK_S = 0.5


class Known(msgspec.Struct):
    """A function that was found; `function` only when it was imported into the engine."""

    kind: Kind
    file: str | None
    sources: dict[str, int]
    generation: int
    function: Callable[..., Any] | None = None
    full_check_at: float = 0.0
    """When all of `sources` are to be looked at again, by the loop's clock."""


class Looking(msgspec.Struct):
    """A function that is being looked for, and how many attempts wait for it."""

    task: asyncio.Task[Known]
    waiting: int = 0


class PythonNode:
    """Async functions run in the engine's loop, others in a warm process of their own, unless `isolation` says else.

    Whether a function is async is found out in a pool process, so that the code of a node that
    runs in a process is never imported into the engine.
    """

    name: ClassVar[str] = "python"
    control: ClassVar[bool] = False
    config_schema: ClassVar[dict[str, Any]] = {
        "description": (
            "A Python function as `module:function`, looked up in the flow folders first, then in the environment. "
            "It is called with what stands under `with` as keyword arguments; what it returns (of a generator: the "
            "list of what it yields) is the node's output. Async functions run in the engine's loop, others in a "
            "process; `isolation: inline | process | thread` says otherwise."
        ),
        "anyOf": [
            {"type": "string", "pattern": _TARGET, "examples": ["reports.text:summarise"]},
            {
                "type": "object",
                "properties": {"call": {"type": "string", "pattern": _TARGET, "examples": ["reports.text:summarise"]}},
                "required": ["call"],
                "additionalProperties": False,
            },
        ],
    }
    examples: ClassVar[list[Any]] = ["reports.text:summarise", {"call": "reports.text:Report.build"}]

    def __init__(self, runtime: NodeRuntime) -> None:
        self._runtime = runtime
        self._in_pool: dict[str, Known] = {}
        self._in_engine: dict[str, Known] = {}
        self._looking: dict[tuple[str, bool], Looking] = {}

    def warn(self, config: Json) -> list[Problem]:
        """A function that is not there, as far as files tell: nothing is imported."""
        target = config.get("call") if isinstance(config, dict) else config
        if not isinstance(target, str) or not _IS_TARGET(target):
            return []
        detail = doubt(target, self._runtime.flow_folders)
        pointer = "/call" if isinstance(config, dict) else ""
        return [] if detail is None else [Problem("function_not_found", detail, pointer)]

    async def run(self, call: Call) -> Json:
        config = call.config
        target: str = config if isinstance(config, str) else config["call"]
        isolation = call.isolation
        if call.quarantine:
            return await self._run_in_pool(call, target)
        if isolation is None or isolation is Isolation.PROCESS:
            known = self._in_pool.get(target)
            if known is None or self._is_stale(known):
                call.sink.waiting()
                known = await self._look_up(target, in_engine=False)
                call.sink.placed()
            if isolation is Isolation.PROCESS or not known.kind.is_async:
                return await self._run_in_pool(call, target)
        known = self._in_engine.get(target)
        if known is None or self._is_stale(known):
            known = await self._look_up(target, in_engine=True)
        if isolation is Isolation.THREAD:
            return await self._run_in_thread(call, known)
        return await self._run_inline(call, known)

    async def _run_in_pool(self, call: Call, target: str) -> Json:
        task = wire.Run(target=target, arguments=call.with_, context=context_of(call))
        return await self._runtime.pool.run(task, call)

    async def _run_inline(self, call: Call, known: Known) -> Json:
        function = known.function
        assert function is not None
        attempt = LocalAttempt(call, self._runtime.storage)
        token = CURRENT.set(attempt)
        try:
            if known.kind is Kind.GENERATOR:
                return decode(collected(function(**call.with_), attempt.yielded))
            if known.kind is Kind.ASYNC_GENERATOR:
                collecting = collected_async(function(**call.with_), attempt.yielded)
                return decode(await drive(collecting, attempt))
            result = function(**call.with_)
            if inspect.isawaitable(result):
                coroutine = result if inspect.iscoroutine(result) else awaited(result)
                result = await drive(coroutine, attempt)
            return as_json(result)
        except asyncio.CancelledError:
            await end_threads(attempt)
            raise
        except (GeneratorExit, ControlFlow, NodeFailed):
            raise
        except BaseException as error:
            raise NodeFailed(failure_of(error)) from None
        finally:
            CURRENT.reset(token)
            attempt.end()

    async def _run_in_thread(self, call: Call, known: Known) -> Json:
        function = known.function
        assert function is not None
        async with self._runtime.thread_slots.place(call.sink):
            attempt = LocalAttempt(call, self._runtime.storage)
            token = CURRENT.set(attempt)
            try:
                return await run_in_thread(lambda: _call(function, known.kind, call.with_, attempt), call)
            except (asyncio.CancelledError, GeneratorExit, NodeFailed):
                raise
            except BaseException as error:
                raise NodeFailed(failure_of(error)) from None
            finally:
                CURRENT.reset(token)
                attempt.end()

    def _is_stale(self, known: Known) -> bool:
        """The function's own file is looked at on every call, the others that came with it twice a second."""
        if known.generation != self._runtime.generation:
            return True
        if known.file is None:
            return False
        now = asyncio.get_running_loop().time()
        sources = known.sources
        if now < known.full_check_at:
            changed = has_changed(((known.file, sources[known.file]),))
        else:
            known.full_check_at = now + _FULL_CHECK_S
            changed = has_changed(sources.items())
        if changed:
            self._runtime.recycle()
        return changed

    async def _look_up(self, target: str, *, in_engine: bool) -> Known:
        """Found once for all who ask at the same time; what is imported in a process ends with the last of them.

        Raises NodeFailed.
        """
        key = (target, in_engine)
        looking = self._looking.get(key)
        if looking is None:
            work = self._import(target) if in_engine else self._inspect(target)
            looking = self._looking[key] = Looking(asyncio.create_task(work))
            looking.task.add_done_callback(lambda task: self._found(key, task))
        looking.waiting += 1
        try:
            return await asyncio.shield(looking.task)
        except asyncio.CancelledError:
            if looking.waiting == 1 and not in_engine and not looking.task.done():
                # Whoever asks from now on begins anew.
                self._looking.pop(key, None)
                looking.task.cancel()
                await surely(_over(looking.task))
            raise
        finally:
            looking.waiting -= 1

    def _found(self, key: tuple[str, bool], task: asyncio.Task[Known]) -> None:
        looking = self._looking.get(key)
        if looking is not None and looking.task is task:
            del self._looking[key]
        if not task.cancelled():
            task.exception()

    async def _inspect(self, target: str) -> Known:
        generation = self._runtime.generation
        found = await self._runtime.pool.inspect(target)
        known = Known(kind=Kind(found.kind), file=found.file, sources=found.sources, generation=generation)
        self._in_pool[target] = known
        return known

    async def _import(self, target: str) -> Known:
        generation = self._runtime.generation
        known = await asyncio.to_thread(_import, target, self._runtime.flow_folders, generation)
        self._in_engine[target] = known
        return known


async def _over(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


def _import(target: str, folders: list[str], generation: int) -> Known:
    try:
        function = load_function(target)
    except NodeFailed:
        raise
    except BaseException as error:
        raise NodeFailed(failure_of(error)) from None
    sources = loaded_sources(folders)
    file = file_of(target)
    return Known(
        kind=kind_of(function),
        file=file if file in sources else None,
        sources=sources,
        generation=generation,
        function=function,
    )


def _call(function: Callable[..., Any], kind: Kind, arguments: dict[str, Any], attempt: LocalAttempt) -> Json:
    """In a thread of its own."""
    if kind is Kind.GENERATOR:
        return decode(collected(function(**arguments), attempt.yielded))
    if kind is Kind.ASYNC_GENERATOR:
        return decode(asyncio.run(collected_async(function(**arguments), attempt.yielded)))
    result = function(**arguments)
    return as_json(asyncio.run(awaited(result)) if inspect.isawaitable(result) else result)
