"""One execution: wait for it, follow it, look into it, cancel it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from msgspec import UNSET

from perdure.client.errors import ExecutionEndedBadly, WaitTimedOut
from perdure.client.paging import all_pages
from perdure.client.streams import OnReconnect, event_messages, execution_events
from perdure.client.transport import Params, Transport, segment
from perdure.wire.artifacts import Artifact, ArtifactList
from perdure.wire.diffs import ExecutionDiff
from perdure.wire.events import Event, EventList, LogLine, LogList
from perdure.wire.executions import (
    CancelExecution,
    Execution,
    ExecutionList,
    ExecutionSummary,
    Explanation,
    TagExecution,
)
from perdure.wire.fixtures import Fixture
from perdure.wire.nodes import ExecutionGraph, NodeRun, NodeRunList
from perdure.wire.replays import ReplayExecution, ReplayPlan
from perdure.wire.waits import (
    Answer,
    PauseExecution,
    RespondExecution,
    SignalExecution,
    Signalled,
    Wait,
    WaitList,
)

COMPLETED = "completed"
TERMINAL = frozenset({COMPLETED, "failed", "cancelled", "timed_out", "abandoned"})
EVENTS_PAGE = 1_000
"""Events and log lines are small and read in bulk, so their pages are as large as the server gives them."""
TERMINAL_EVENTS = tuple(f"execution.{status}" for status in sorted(TERMINAL))


class AsyncExecutionHandle:
    """One execution with the calls that concern it."""

    def __init__(self, transport: Transport, record: Execution) -> None:
        self._transport = transport
        self._path = f"/executions/{record.id}"
        self._record = record

    @property
    def record(self) -> Execution:
        """The execution as the server last told of it."""
        return self._record

    @property
    def id(self) -> str:
        """Its public id."""
        return self.record.id

    @property
    def status(self) -> str:
        """The status last seen; `refresh` asks again."""
        return self.record.status

    @property
    def ended(self) -> bool:
        """Whether the status last seen is a terminal one."""
        return self.record.status in TERMINAL

    async def refresh(self, *, include: Sequence[str] = ()) -> Execution:
        """Ask the server how it stands; `include` may name nodes, waits, artifacts, config."""
        params: Params = {"include": ",".join(include) or None}
        self._record = await self._transport.call("GET", self._path, Execution, params=params)
        return self.record

    async def wait(self, timeout: float | None = None) -> Execution:
        """Return when it has ended, however it ended. Raises WaitTimedOut after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not self.ended:
                    # The end alone is waited for; what came before it is nothing to this call.
                    async for _ in self.events(types=TERMINAL_EVENTS):
                        break
                    await self.refresh()
        except TimeoutError:
            raise WaitTimedOut(self.id, status=self.status, timeout_s=timeout or 0.0) from None
        return self.record

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for its end; its output. Raises ExecutionEndedBadly unless it completed, WaitTimedOut."""
        record = await self.wait(timeout)
        if record.status != COMPLETED:
            error = {"code": record.error.code, "message": record.error.message} if record.error else None
            raise ExecutionEndedBadly(record.id, status=record.status, error=error)
        return record.output

    async def events(
        self, *, after: int = 0, types: Sequence[str] = (), on_reconnect: OnReconnect | None = None
    ) -> AsyncIterator[Event]:
        """Its events behind number `after` as they happen, without gap or double, until it has ended.

        A broken connection is taken up again; `on_reconnect` is told each time.
        """
        stream = execution_events(self._transport, self.id, after=after, types=tuple(types), on_reconnect=on_reconnect)
        async for event in stream:
            yield event

    async def past_events(self, *, after: int = 0, types: Sequence[str] = ()) -> AsyncIterator[Event]:
        """Its events behind number `after` up to now: of one that has ended, a single stream."""
        if self.ended:
            async for event in self.events(after=after, types=types):
                yield event
            return
        pages = all_pages(
            self._transport,
            f"{self._path}/events",
            EventList,
            params={"types": ",".join(types) or None},
            limit=None,
            cursor_name="after",
            cursor=str(after),
            page_size=EVENTS_PAGE,
        )
        async for event in pages:
            yield event

    async def logs(
        self,
        *,
        follow: bool = False,
        since: str | None = None,
        level: str | None = None,
        node: str | None = None,
        q: str | None = None,
        on_reconnect: OnReconnect | None = None,
    ) -> AsyncIterator[LogLine]:
        """What its nodes printed and logged, in order; with `follow` until it has ended.

        Of an execution that has ended, however much it printed, they come in a single stream.

        Args:
            since: an RFC 3339 time, or how long ago (`10m`).
            level: the lowest level to tell: debug, info, warning, error.
            q: only lines with this text, whatever its case.
        """
        params: dict[str, str | None] = {"since": since, "level": level, "node": node, "q": q}
        if not follow and not self.ended:
            pages = all_pages(
                self._transport,
                f"{self._path}/logs",
                LogList,
                params=params,
                limit=None,
                cursor_name="after",
                page_size=EVENTS_PAGE,
            )
            async for line in pages:
                yield line
            return
        messages = event_messages(
            self._transport,
            f"{self._path}/logs",
            LogLine,
            params={**params, "follow": True},
            cursor=None,
            on_reconnect=on_reconnect,
        )
        async for _, line in messages:
            yield line

    async def cancel(self, *, reason: str | None = None, force: bool = False) -> Execution:
        """Ask it to end; `force` gives attempts no grace and cleans nothing up. Raises ExecutionEnded when it has ended already."""
        request = CancelExecution(reason=reason, force=force)
        self._record = await self._transport.call("POST", f"{self._path}/cancel", Execution, body=request)
        return self.record

    async def tag(self, set: Mapping[str, str] | None = None, *, remove: Sequence[str] = ()) -> Execution:
        """Set and remove tags, whether it goes on or has ended. Raises ExecutionNotFound, BadRequest with too many."""
        request = TagExecution(set=dict(set or {}), remove=list(remove))
        self._record = await self._transport.call(
            "PATCH", f"{self._path}/tags", Execution, body=request, idempotent=True
        )  # fmt: skip
        return self.record

    async def delete(self) -> None:
        """Remove it for good, with all that it started. Raises ExecutionNotEnded, ExecutionNotFound."""
        await self._transport.request("DELETE", self._path)

    async def waits(self) -> list[Wait]:
        """What it waits for: approvals, questions, signals, timers, children, a pause."""
        return (await self._transport.call("GET", f"{self._path}/waits", WaitList)).data

    async def respond(
        self, *, approved: bool | None = None, answer: Any = UNSET, wait: str | None = None, comment: str | None = None
    ) -> Answer:
        """Answer what it waits for, exactly once: say `approved` of an approval, give the `answer` of a question.

        Not tried again, as whoever comes second is refused.

        Args:
            wait: its id (`node`, `node[ordinal]`); may be left out where one alone is open.

        Raises WaitAnswered when somebody was first, InvalidAnswer, WaitNotOpen, PermissionDenied, ….
        """
        request = RespondExecution(wait=wait, approved=approved, answer=answer, comment=comment)
        return await self._transport.call("POST", f"{self._path}/respond", Answer, body=request)

    async def approve(self, *, wait: str | None = None, comment: str | None = None) -> Answer:
        """Approve what it waits for; see `respond`."""
        return await self.respond(approved=True, wait=wait, comment=comment)

    async def reject(self, *, wait: str | None = None, comment: str | None = None) -> Answer:
        """Reject what it waits for, or refuse to answer; see `respond`."""
        return await self.respond(approved=False, wait=wait, comment=comment)

    async def signal(self, name: str, payload: Any = None) -> Signalled:
        """Send it a signal; one that nothing waits for yet is kept. Not tried again: each call is a signal of its own."""
        request = SignalExecution(name=name, payload=payload)
        return await self._transport.call("POST", f"{self._path}/signal", Signalled, body=request)

    async def pause(self, *, reason: str | None = None) -> Execution:
        """Begin nothing new in it until `resume`; what runs goes on to its end, and its deadline still counts."""
        request = PauseExecution(reason=reason)
        self._record = await self._transport.call(
            "POST", f"{self._path}/pause", Execution, body=request, idempotent=True
        )  # fmt: skip
        return self.record

    async def resume(self) -> Execution:
        """Go on with what is paused."""
        self._record = await self._transport.call("POST", f"{self._path}/resume", Execution)
        return self.record

    async def replay(
        self,
        *,
        begin: Sequence[str] | str | None = None,
        input: Any = UNSET,
        outputs: Mapping[str, Any] | None = None,
        version: str | int = "same",
        reuse: str = "independent",
        idempotency_key: str | None = None,
    ) -> AsyncExecutionHandle:
        """A new execution from what this one recorded; it is durable when this returns.

        Args:
            begin: the nodes to begin with, or `failed`; None is the start, or behind the nodes of `outputs`.
            input: another input; the original's when left out.
            outputs: results of nodes to go on with in the place of the recorded ones.
            version: `same`, `latest` or a number.
            reuse: `independent` takes over all that does not depend on what runs, `ancestors` only what `begin` needs.
            idempotency_key: the same key and request within 24 h give the first replay again. Without one a fresh
                key is sent, so that the call can be tried again without replaying twice.

        Raises ExecutionNotEnded, InvalidInput, ….
        """
        request = _replay_request(begin, input, outputs, version, reuse)
        request.idempotency_key = idempotency_key or str(uuid4())
        path = f"{self._path}/replay"
        record = await self._transport.call("POST", path, Execution, body=request, idempotent=True)
        return AsyncExecutionHandle(self._transport, record)

    async def retry(self, *, version: str | int = "same", idempotency_key: str | None = None) -> AsyncExecutionHandle:
        """A replay from what failed, was cancelled or never ran. Raises ExecutionNotEnded, NothingToRetry."""
        return await self.replay(begin="failed", version=version, idempotency_key=idempotency_key)

    async def plan_replay(
        self,
        *,
        begin: Sequence[str] | str | None = None,
        input: Any = UNSET,
        outputs: Mapping[str, Any] | None = None,
        version: str | int = "same",
        reuse: str = "independent",
    ) -> ReplayPlan:
        """What `replay` would take over and what it would run, node by node and why; nothing is written."""
        request = _replay_request(begin, input, outputs, version, reuse)
        request.dry_run = True
        return await self._transport.call("POST", f"{self._path}/replay", ReplayPlan, body=request, idempotent=True)

    async def diff(self, other: str = "last_success") -> ExecutionDiff:
        """How it differs from another one, an id or a number; or from the last success of its flow before it."""
        return await self._transport.call("GET", f"{self._path}/diff", ExecutionDiff, params={"with": other})

    async def fixture(self) -> Fixture:
        """It as a test fixture: definition, input, and every node's result. Raises ExecutionNotEnded."""
        return await self._transport.call("GET", f"{self._path}/fixture", Fixture)

    async def replays(self, *, limit: int | None = None) -> AsyncIterator[ExecutionSummary]:
        """Executions that were made from this one, newest first."""
        async for entry in all_pages(self._transport, f"{self._path}/replays", ExecutionList, params={}, limit=limit):
            yield entry

    async def nodes(self, *, node: str | None = None, limit: int | None = None) -> AsyncIterator[NodeRun]:
        """Its node runs, or those of one node."""
        path = f"{self._path}/nodes" + (f"/{segment(node)}" if node else "")
        async for run in all_pages(self._transport, path, NodeRunList, params={}, limit=limit):
            yield run

    async def graph(self) -> ExecutionGraph:
        """The graph of its flow version, each node with how its runs stand."""
        return await self._transport.call("GET", f"{self._path}/dag", ExecutionGraph)

    async def why(self) -> Explanation:
        """Exactly what it is waiting for, or who holds it up."""
        return await self._transport.call("GET", f"{self._path}/why", Explanation)

    async def artifacts(self) -> AsyncIterator[Artifact]:
        """The files that its nodes published."""
        async for artifact in all_pages(
            self._transport, f"{self._path}/artifacts", ArtifactList, params={}, limit=None
        ):
            yield artifact


def _replay_request(
    begin: Sequence[str] | str | None,
    input: Any,
    outputs: Mapping[str, Any] | None,
    version: str | int,
    reuse: str,
) -> ReplayExecution:
    return ReplayExecution(
        begin=cast("Any", begin if begin is None or isinstance(begin, str) else list(begin)),
        input=input,
        outputs=dict(outputs or {}),
        version=cast("Any", version),
        reuse=cast("Any", reuse),
    )
