"""Finding what a path names, and reading values with a bound on what one answer may hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from perdure.api.answer import Header
from perdure.api.call import Call
from perdure.api.services import Services
from perdure.base.ids import id_bytes, id_text
from perdure.errors import ExecutionNotFound, InvalidIdentifier, Problem
from perdure.model.definition import qualified
from perdure.store.records import ExecutionRecord, Payload, Value

ANSWER_BYTES = 32 * 1024 * 1024
"""Of inputs and outputs in one page; a page that reaches it ends early and has a `next`."""


async def find_execution(call: Call[Any, Any]) -> ExecutionRecord:
    """The execution that the path names by id or number. Raises ExecutionNotFound."""
    return await id_or_number(call.services, call.workspace, call.path["execution"])


async def id_or_number(services: Services, workspace: str, key: bytes | int) -> ExecutionRecord:
    """The execution with this id or number. Raises ExecutionNotFound."""
    executions = services.engine.store.executions
    if isinstance(key, int):
        record = await executions.by_number(workspace, key)
    else:
        record = await executions.get(workspace, key)
    if record is None:
        raise ExecutionNotFound.of(key if isinstance(key, int) else id_text(key))
    return record


async def find_whole(call: Call[Any, Any]) -> tuple[ExecutionRecord, Payload]:
    """The execution that the path names, with its payload. Raises ExecutionNotFound."""
    key: bytes | int = call.path["execution"]
    id = (await find_execution(call)).id if isinstance(key, int) else key
    found = await call.services.engine.store.executions.whole(call.workspace, id)
    if found is None:
        raise ExecutionNotFound.of(id_text(id))
    return found


async def value_text(call: Call[Any, Any], value: Value | None) -> str | None:
    """A stored value as JSON text."""
    if value is None or value.blob is None:
        return None if value is None else value.text
    return await call.services.engine.payload_text(value)


def value_size(value: Value | None) -> int:
    if value is None:
        return 0
    return value.size or len(value.text or "")


def next_link(
    call: Call[Any, Any], cursor: str | None, *, dropped: Iterable[str] = ("cursor", "offset")
) -> list[Header]:
    """The `Link` header to the following page: this request with the other cursor."""
    if cursor is None:
        return []
    kept = [(name, value) for name, value in parse_qsl(call.raw_query, keep_blank_values=True) if name not in dropped]
    query = urlencode([*kept, ("cursor", cursor)])
    return [(b"link", f'<{call.raw_path}?{query}>; rel="next"'.encode())]


def execution_parameter(text: str) -> bytes:
    """The id that a query's `execution` names. Raises InvalidIdentifier."""
    try:
        return id_bytes(text)
    except ValueError:
        detail = f"{text[:60]!r} is no execution's id; write a UUID"
        raise InvalidIdentifier(
            detail, problems=(Problem("invalid_identifier", detail, parameter="execution"),)
        ) from None


def flow_parameter(text: str) -> str:
    """The whole address of the flow that the query's `flow` names. Raises InvalidIdentifier."""
    try:
        return qualified(text)
    except ValueError as error:
        problem = Problem("invalid_identifier", str(error), parameter="flow")
        raise InvalidIdentifier(str(error), problems=(problem,)) from None


def replaced(problems: Iterable[Any], prefix: str) -> tuple[Any, ...]:
    """Problems of a part as problems of the whole: their pointers begin with the part's."""
    return tuple(msgspec.structs.replace(problem, pointer=f"{prefix}{problem.pointer or ''}") for problem in problems)
