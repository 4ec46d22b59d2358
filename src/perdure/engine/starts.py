"""From what a caller asks for to the row of a new execution."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from perdure.base.clock import DAY, Clock
from perdure.base.codec import Json, encode
from perdure.base.ids import new_id
from perdure.base.tags import MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGS, TAG_KEY, TAG_VALUE
from perdure.engine.catalog import Catalog
from perdure.engine.requests import StartRequest
from perdure.engine.values import ValueRefused, Values, to_json
from perdure.errors import InvalidIdentifier, InvalidRequest, LimitExceeded, Problem
from perdure.flows.program import ExpressionFailed, Program
from perdure.model.definition import MAX_DEPTH, qualified
from perdure.model.execution import NodeRun
from perdure.model.queue_line import line_of
from perdure.store.records import ExecutionRecord, LimitClaim, NewExecution, RateClaim, Value

MAX_KEY = 255
"""Characters of an idempotency key."""
MAX_COMPUTED_KEY = 200
"""Characters of what `concurrency.key` or `rate.key` gives: it is looked up by an index, whose rows are short."""
MAX_CONTEXT = 16 * 1024
"""Bytes of a trigger's context as JSON: it stands in every summary of its execution, a thousand in a page."""
MAX_TIMEOUT = 3650 * DAY


class Starts:
    """Checks start requests against their flows and makes rows of them."""

    def __init__(self, catalog: Catalog, values: Values, clock: Clock) -> None:
        self._catalog = catalog
        self._values = values
        self._clock = clock

    async def build(self, request: StartRequest) -> tuple[NewExecution, Program]:
        """Raises `FlowNotFound`, `InvalidInput` and the like; nothing is stored yet."""
        flow = _address(request.flow)
        version, program = await self._catalog.program(request.workspace, flow, request.version)
        definition = program.flow
        tags = {**definition.tags, **request.tags}
        _check(request, tags)
        input_ = program.check_input(request.input)
        now = self._clock.now()
        id_ = new_id(now)
        timeout = definition.timeout if request.timeout is None else request.timeout
        begins_at = max(now, request.start_at or now)
        execution = NewExecution(
            id=id_,
            workspace=request.workspace,
            flow=flow,
            flow_version=version,
            input=await self._input(input_),
            priority=definition.priority if request.priority is None else request.priority,
            queue=line_of(request.queue or definition.queue, definition.requires),
            tags=tags,
            trigger_kind=request.trigger_kind,
            trigger_id=request.trigger_id,
            trigger_context=request.trigger_context,
            root=id_,
            idempotency_key=request.idempotency_key,
            request_hash=request.request_hash,
            limit=_limit(program, input_),
            rate=_rate(program, input_),
            has_cleanup=definition.has_cleanup(),
            max_recoveries=definition.max_recoveries,
            created_at=now,
            start_at=request.start_at if request.start_at is not None and request.start_at > now else None,
            deadline_at=None if timeout is None else begins_at + timeout,
        )
        return execution, program

    async def child(self, request: StartRequest, *, parent: tuple[ExecutionRecord, NodeRun]) -> NewExecution:
        """A start by a `flow` node; it belongs to its parent and to its parent's root."""
        record, run = parent
        if record.depth + 1 > MAX_DEPTH:
            raise LimitExceeded(f"executions may start executions at most {MAX_DEPTH} deep")
        child, _ = await self.build(request)
        child.parent, child.parent_node = record.id, run.node
        child.parent_ordinal, child.parent_label, child.parent_attempt = run.ordinal, run.label, run.attempt
        child.root, child.depth = record.root, record.depth + 1
        return child

    async def _input(self, value: Json) -> Value:
        try:
            return await self._values.store(to_json(value, "the input"))
        except ValueRefused as error:
            raise LimitExceeded(error.failure.message) from None


def _address(name: str) -> str:
    try:
        return qualified(name)
    except ValueError as error:
        raise InvalidIdentifier(str(error), problems=(Problem("invalid_identifier", str(error), "/flow"),)) from None


def _limit(program: Program, input_: Json) -> LimitClaim | None:
    concurrency = program.flow.concurrency
    if concurrency is None:
        return None
    key = _key(program.limit_key, input_, program.flow.id, "/concurrency/key")
    return LimitClaim(key=key, limit=concurrency.limit, on_limit=concurrency.on_limit)


def _rate(program: Program, input_: Json) -> RateClaim | None:
    rate = program.flow.rate
    if rate is None:
        return None
    key = _key(program.rate_key, input_, program.flow.id, "/rate/key")
    return RateClaim(key=key, limit=rate.limit, per=rate.per)


def _key(evaluate: Callable[[Json], str], input_: Json, flow: str, place: str) -> str:
    try:
        text = evaluate(input_)
    except ExpressionFailed as error:
        raise InvalidRequest(
            error.failure.message, problems=(Problem("expression_error", error.failure.message, place),)
        ) from None
    if len(text) > MAX_COMPUTED_KEY:
        detail = f"the key has {len(text)} characters, at most {MAX_COMPUTED_KEY} are allowed: {text[:60]!r}…"
        raise LimitExceeded(detail, problems=(Problem("limit_exceeded", detail, place),))
    if "\0" in text:
        detail = f"the key {text!r} holds a NUL character"
        raise InvalidRequest(detail, problems=(Problem("invalid_value", detail, place),))
    return f"{flow}:{text}" if text else flow


def _check(request: StartRequest, tags: dict[str, str]) -> None:
    """`tags` are the flow's and the request's together."""
    problems: list[Problem] = []
    if request.priority is not None and not 0 <= request.priority <= 9:
        problems.append(Problem("out_of_range", f"priority is {request.priority}; it goes from 0 to 9", "/priority"))
    if request.timeout is not None and not 0 < request.timeout <= MAX_TIMEOUT:
        problems.append(Problem("out_of_range", "timeout is above 0 and at most 3650d", "/timeout"))
    if request.trigger_context is not None and (size := len(encode(request.trigger_context))) > MAX_CONTEXT:
        detail = f"the trigger's context has {size} bytes as JSON, at most {MAX_CONTEXT} are allowed"
        problems.append(Problem("limit_exceeded", detail, "/trigger_context"))
    key = request.idempotency_key
    if key is not None and not 0 < len(key) <= MAX_KEY:
        problems.append(
            Problem("out_of_range", f"an idempotency key has 1 to {MAX_KEY} characters", "/idempotency_key")
        )
    problems += _check_tags(tags)
    if problems:
        raise InvalidRequest(problems[0].detail, problems=tuple(problems))


def _check_tags(tags: dict[str, str]) -> Sequence[Problem]:
    problems = []
    if len(tags) > MAX_TAGS:
        detail = f"{len(tags)} tags, the flow's among them; at most {MAX_TAGS}"
        problems.append(Problem("out_of_range", detail, "/tags"))
    for key, value in tags.items():
        shown = repr(key[:80])
        if len(key) > MAX_TAG_KEY:
            problems.append(
                Problem("out_of_range", f"the key of tag {shown} has over {MAX_TAG_KEY} characters", "/tags")
            )
        elif re.fullmatch(TAG_KEY, key) is None:
            detail = f"{shown} is no tag's key: 1 to {MAX_TAG_KEY} characters, no colon and no control character"
            problems.append(Problem("invalid_value", detail, "/tags"))
        if len(value) > MAX_TAG_VALUE:
            detail = f"the value of tag {shown} has over {MAX_TAG_VALUE} characters"
            problems.append(Problem("out_of_range", detail, "/tags"))
        elif re.fullmatch(TAG_VALUE, value) is None:
            problems.append(Problem("invalid_value", f"the value of tag {shown} has a control character", "/tags"))
    return problems
