"""The sync resources. Made by `scripts/generate_sync_client.py` from the async ones; change those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from msgspec import UNSET

from perdure.client.artifacts import AsyncArtifacts
from perdure.client.execution import AsyncExecutionHandle
from perdure.client.executions import AsyncExecutions
from perdure.client.filters import Filters, TextFilters
from perdure.client.flows import AsyncFlows
from perdure.client.live import OnLiveReset
from perdure.client.portal import Portal
from perdure.client.streams import OnReconnect, OnReset
from perdure.client.system import AsyncSystem
from perdure.client.tokens import AsyncTokens
from perdure.client.waits import AsyncWaits
from perdure.wire.artifacts import Artifact
from perdure.wire.diffs import ExecutionDiff
from perdure.wire.events import Event, LogLine
from perdure.wire.executions import (
    Execution,
    ExecutionStats,
    ExecutionSummary,
    Explanation,
    StartExecution,
)
from perdure.wire.fixtures import Fixture
from perdure.wire.flows import (
    Flow,
    FlowChange,
    FlowDetail,
    FlowDocument,
    FlowVersion,
    FlowVersionDetail,
    Validation,
)
from perdure.wire.live import Subscribe
from perdure.wire.nodes import ExecutionGraph, FlowGraph, NodeRun
from perdure.wire.replays import ReplayPlan
from perdure.wire.system import CreatedToken, Health, SystemInfo, Token, Worker
from perdure.wire.waits import (
    Answer,
    Signalled,
    Wait,
)


class ExecutionHandle:
    """One execution with the calls that concern it."""

    def __init__(self, portal: Portal, source: AsyncExecutionHandle) -> None:
        self._portal = portal
        self._source = source

    @property
    def record(self) -> Execution:
        """The execution as the server last told of it."""
        return self._source.record

    @property
    def id(self) -> str:
        """Its public id."""
        return self._source.id

    @property
    def status(self) -> str:
        """The status last seen; `refresh` asks again."""
        return self._source.status

    @property
    def ended(self) -> bool:
        """Whether the status last seen is a terminal one."""
        return self._source.ended

    def refresh(self, *, include: Sequence[str] = ()) -> Execution:
        """Ask the server how it stands; `include` may name nodes, waits, artifacts, config."""
        return self._portal.call(self._source.refresh(include=include))

    def wait(self, timeout: float | None = None) -> Execution:
        """Return when it has ended, however it ended. Raises WaitTimedOut after `timeout` seconds."""
        return self._portal.call(self._source.wait(timeout))

    def result(self, timeout: float | None = None) -> Any:
        """Wait for its end; its output. Raises ExecutionEndedBadly unless it completed, WaitTimedOut."""
        return self._portal.call(self._source.result(timeout))

    def events(
        self, *, after: int = 0, types: Sequence[str] = (), on_reconnect: OnReconnect | None = None
    ) -> Iterator[Event]:
        """Its events behind number `after` as they happen, without gap or double, until it has ended.

        A broken connection is taken up again; `on_reconnect` is told each time.
        """
        return self._portal.iterate(self._source.events(after=after, types=types, on_reconnect=on_reconnect))

    def past_events(self, *, after: int = 0, types: Sequence[str] = ()) -> Iterator[Event]:
        """Its events behind number `after` up to now: of one that has ended, a single stream."""
        return self._portal.iterate(self._source.past_events(after=after, types=types))

    def logs(
        self,
        *,
        follow: bool = False,
        since: str | None = None,
        level: str | None = None,
        node: str | None = None,
        q: str | None = None,
        on_reconnect: OnReconnect | None = None,
    ) -> Iterator[LogLine]:
        """What its nodes printed and logged, in order; with `follow` until it has ended.

        Of an execution that has ended, however much it printed, they come in a single stream.

        Args:
            since: an RFC 3339 time, or how long ago (`10m`).
            level: the lowest level to tell: debug, info, warning, error.
            q: only lines with this text, whatever its case.
        """
        return self._portal.iterate(
            self._source.logs(follow=follow, since=since, level=level, node=node, q=q, on_reconnect=on_reconnect)
        )

    def cancel(self, *, reason: str | None = None, force: bool = False) -> Execution:
        """Ask it to end; `force` gives attempts no grace and cleans nothing up. Raises ExecutionEnded when it has ended already."""
        return self._portal.call(self._source.cancel(reason=reason, force=force))

    def tag(self, set: Mapping[str, str] | None = None, *, remove: Sequence[str] = ()) -> Execution:
        """Set and remove tags, whether it goes on or has ended. Raises ExecutionNotFound, BadRequest with too many."""
        return self._portal.call(self._source.tag(set, remove=remove))

    def delete(self) -> None:
        """Remove it for good, with all that it started. Raises ExecutionNotEnded, ExecutionNotFound."""
        self._portal.call(self._source.delete())

    def waits(self) -> list[Wait]:
        """What it waits for: approvals, questions, signals, timers, children, a pause."""
        return self._portal.call(self._source.waits())

    def respond(
        self, *, approved: bool | None = None, answer: Any = UNSET, wait: str | None = None, comment: str | None = None
    ) -> Answer:
        """Answer what it waits for, exactly once: say `approved` of an approval, give the `answer` of a question.

        Not tried again, as whoever comes second is refused.

        Args:
            wait: its id (`node`, `node[ordinal]`); may be left out where one alone is open.

        Raises WaitAnswered when somebody was first, InvalidAnswer, WaitNotOpen, PermissionDenied, ….
        """
        return self._portal.call(self._source.respond(approved=approved, answer=answer, wait=wait, comment=comment))

    def approve(self, *, wait: str | None = None, comment: str | None = None) -> Answer:
        """Approve what it waits for; see `respond`."""
        return self._portal.call(self._source.approve(wait=wait, comment=comment))

    def reject(self, *, wait: str | None = None, comment: str | None = None) -> Answer:
        """Reject what it waits for, or refuse to answer; see `respond`."""
        return self._portal.call(self._source.reject(wait=wait, comment=comment))

    def signal(self, name: str, payload: Any = None) -> Signalled:
        """Send it a signal; one that nothing waits for yet is kept. Not tried again: each call is a signal of its own."""
        return self._portal.call(self._source.signal(name, payload))

    def pause(self, *, reason: str | None = None) -> Execution:
        """Begin nothing new in it until `resume`; what runs goes on to its end, and its deadline still counts."""
        return self._portal.call(self._source.pause(reason=reason))

    def resume(self) -> Execution:
        """Go on with what is paused."""
        return self._portal.call(self._source.resume())

    def replay(
        self,
        *,
        begin: Sequence[str] | str | None = None,
        input: Any = UNSET,
        outputs: Mapping[str, Any] | None = None,
        version: str | int = "same",
        reuse: str = "independent",
        idempotency_key: str | None = None,
    ) -> ExecutionHandle:
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
        return ExecutionHandle(
            self._portal,
            self._portal.call(
                self._source.replay(
                    begin=begin,
                    input=input,
                    outputs=outputs,
                    version=version,
                    reuse=reuse,
                    idempotency_key=idempotency_key,
                )
            ),
        )

    def retry(self, *, version: str | int = "same", idempotency_key: str | None = None) -> ExecutionHandle:
        """A replay from what failed, was cancelled or never ran. Raises ExecutionNotEnded, NothingToRetry."""
        return ExecutionHandle(
            self._portal, self._portal.call(self._source.retry(version=version, idempotency_key=idempotency_key))
        )

    def plan_replay(
        self,
        *,
        begin: Sequence[str] | str | None = None,
        input: Any = UNSET,
        outputs: Mapping[str, Any] | None = None,
        version: str | int = "same",
        reuse: str = "independent",
    ) -> ReplayPlan:
        """What `replay` would take over and what it would run, node by node and why; nothing is written."""
        return self._portal.call(
            self._source.plan_replay(begin=begin, input=input, outputs=outputs, version=version, reuse=reuse)
        )

    def diff(self, other: str = "last_success") -> ExecutionDiff:
        """How it differs from another one, an id or a number; or from the last success of its flow before it."""
        return self._portal.call(self._source.diff(other))

    def fixture(self) -> Fixture:
        """It as a test fixture: definition, input, and every node's result. Raises ExecutionNotEnded."""
        return self._portal.call(self._source.fixture())

    def replays(self, *, limit: int | None = None) -> Iterator[ExecutionSummary]:
        """Executions that were made from this one, newest first."""
        return self._portal.iterate(self._source.replays(limit=limit))

    def nodes(self, *, node: str | None = None, limit: int | None = None) -> Iterator[NodeRun]:
        """Its node runs, or those of one node."""
        return self._portal.iterate(self._source.nodes(node=node, limit=limit))

    def graph(self) -> ExecutionGraph:
        """The graph of its flow version, each node with how its runs stand."""
        return self._portal.call(self._source.graph())

    def why(self) -> Explanation:
        """Exactly what it is waiting for, or who holds it up."""
        return self._portal.call(self._source.why())

    def artifacts(self) -> Iterator[Artifact]:
        """The files that its nodes published."""
        return self._portal.iterate(self._source.artifacts())


class Executions:
    """`client.executions`. Ids are UUIDs as text; times are `datetime` with a time zone."""

    def __init__(self, portal: Portal, source: AsyncExecutions) -> None:
        self._portal = portal
        self._source = source

    def start(
        self,
        flow: str,
        *,
        input: Any = None,
        version: int | None = None,
        tags: Mapping[str, str] | None = None,
        trigger_context: Any = None,
        idempotency_key: str | None = None,
        start_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        timeout: str | float | None = None,
        wait_s: int | None = None,
    ) -> ExecutionHandle:
        """Start an execution; it is durable when this returns.

        Args:
            flow: `namespace/name`, or a bare name in the namespace `default`.
            idempotency_key: the same key and request within 24 h give the first execution again. Without
                one a fresh key is sent, so that the call can be tried again without starting twice.
            timeout: `10m`, or seconds; the flow's own when None.
            wait_s: how long (at most 300) the server may hold the answer back until the execution has ended.

        Raises FlowNotFound, InvalidInput, ConcurrencyLimitReached, ….
        """
        return ExecutionHandle(
            self._portal,
            self._portal.call(
                self._source.start(
                    flow,
                    input=input,
                    version=version,
                    tags=tags,
                    trigger_context=trigger_context,
                    idempotency_key=idempotency_key,
                    start_at=start_at,
                    priority=priority,
                    queue=queue,
                    timeout=timeout,
                    wait_s=wait_s,
                )
            ),
        )

    def start_batch(self, requests: Sequence[StartExecution]) -> list[ExecutionSummary]:
        """Start at most 1,000 executions in one transaction: all of them, or none and an error."""
        return self._portal.call(self._source.start_batch(requests))

    def get(self, id: str | int, *, include: Sequence[str] = ()) -> Execution:
        """One execution by its id or number; `include` may name nodes, waits, artifacts, config. Raises ExecutionNotFound."""
        return self._portal.call(self._source.get(id, include=include))

    def handle(self, id: str | int) -> ExecutionHandle:
        """One execution, by its id or number, as something to wait for and to follow. Raises ExecutionNotFound."""
        return ExecutionHandle(self._portal, self._portal.call(self._source.handle(id)))

    def list(
        self, *, oldest_first: bool = False, limit: int | None = None, **filters: Unpack[TextFilters]
    ) -> Iterator[ExecutionSummary]:
        """Executions that fit all conditions (`perdure.client.filters`), newest first, fetched page by page while you iterate.

        Units, the parts of executions that run elsewhere, are among them where `kind` is unit or any.
        """
        return self._portal.iterate(self._source.list(oldest_first=oldest_first, limit=limit, **filters))

    def count(self, **filters: Unpack[Filters]) -> int:
        """How many executions fit all conditions, exactly."""
        return self._portal.call(self._source.count(**filters))

    def export(
        self,
        *,
        format: str = "ndjson",
        fields: Sequence[str] = (),
        oldest_first: bool = False,
        **filters: Unpack[TextFilters],
    ) -> Iterator[bytes]:
        """All executions that fit, with their values, as one stream of bytes; its pieces are whole lines or not.

        Args:
            format: ndjson, csv, json, or parquet where the server has the extra for it.
            fields: of an execution; all of them where none is named.

        Raises ServerUnreachable when the stream is cut off: what came so far is not all.
        """
        return self._portal.iterate(
            self._source.export(format=format, fields=fields, oldest_first=oldest_first, **filters)
        )

    def stats(
        self,
        *,
        group_by: Sequence[str] = ("status",),
        durations: bool = False,
        exact: bool = True,
        **filters: Unpack[Filters],
    ) -> ExecutionStats:
        """Counts by status, flow, namespace, trigger, hour or day.

        Args:
            durations: with `duration_ms: {p50, p95, p99}`, within 2 %.
            exact: False looks at the newest 50,000 only where no counter knows the answer.
        """
        return self._portal.call(self._source.stats(group_by=group_by, durations=durations, exact=exact, **filters))


class Flows:
    """`client.flows`. A flow is addressed `namespace/name`, or by its bare name in the namespace `default`."""

    def __init__(self, portal: Portal, source: AsyncFlows) -> None:
        self._portal = portal
        self._source = source

    def list(self, *, namespace: str | None = None, limit: int | None = None) -> Iterator[Flow]:
        """All flows, by id."""
        return self._portal.iterate(self._source.list(namespace=namespace, limit=limit))

    def get(self, id: str) -> FlowDetail:
        """A flow with its latest definition. Raises FlowNotFound."""
        return self._portal.call(self._source.get(id))

    def put(self, id: str, document: str | bytes, *, media_type: str = "application/yaml") -> FlowDetail:
        """Make a document (YAML or JSON) the flow's latest version; its `id` must be the same.

        Raises InvalidFlow with everything that is wrong with it, Conflict when a folder manages the flow.
        """
        return self._portal.call(self._source.put(id, document, media_type=media_type))

    def put_batch(self, documents: Sequence[FlowDocument], *, dry_run: bool = False) -> Sequence[FlowChange]:
        """Put at most 1,000 definitions in one transaction: all of them, or none and an error. With `dry_run` nothing is put.

        Raises InvalidFlow with everything that is wrong with any, Conflict when a folder manages one of the flows; each
        of the error's `errors` has a `pointer` such as `/documents/3`.
        """
        return self._portal.call(self._source.put_batch(documents, dry_run=dry_run))

    def delete(self, id: str) -> None:
        """Raises FlowNotFound, Conflict when it has executions that are not finished, or a folder manages it."""
        self._portal.call(self._source.delete(id))

    def versions(self, id: str, *, limit: int | None = None) -> Iterator[FlowVersion]:
        """Its versions, newest first."""
        return self._portal.iterate(self._source.versions(id, limit=limit))

    def version(self, id: str, number: int) -> FlowVersionDetail:
        """One version with its definition and the text it was given as."""
        return self._portal.call(self._source.version(id, number))

    def graph(self, id: str) -> FlowGraph:
        """Nodes and edges of the latest version."""
        return self._portal.call(self._source.graph(id))

    def validate(self, document: str | bytes, *, media_type: str = "application/yaml") -> Validation:
        """What is wrong with a document, everything at once; nothing is stored."""
        return self._portal.call(self._source.validate(document, media_type=media_type))


class Artifacts:
    """`client.artifacts`."""

    def __init__(self, portal: Portal, source: AsyncArtifacts) -> None:
        self._portal = portal
        self._source = source

    def read(self, id: str) -> bytes:
        """All bytes of an artifact. Raises NotFound."""
        return self._portal.call(self._source.read(id))

    def chunks(self, id: str) -> Iterator[bytes]:
        """Its bytes as they come, for large ones. Raises NotFound."""
        return self._portal.iterate(self._source.chunks(id))


class Tokens:
    """`client.tokens`."""

    def __init__(self, portal: Portal, source: AsyncTokens) -> None:
        self._portal = portal
        self._source = source

    def create(self, name: str, *, role: str = "admin", expires_at: datetime | None = None) -> CreatedToken:
        """A new token; its `secret` is told this once. Not tried again: a lost answer would leave one unknown."""
        return self._portal.call(self._source.create(name, role=role, expires_at=expires_at))

    def list(self) -> list[Token]:
        """All tokens, revoked ones too, without their secrets."""
        return self._portal.call(self._source.list())

    def revoke(self, id: str) -> None:
        """From now on it opens nothing. Raises NotFound."""
        self._portal.call(self._source.revoke(id))


class Waits:
    """`client.waits`; answer one by the handle of its execution."""

    def __init__(self, portal: Portal, source: AsyncWaits) -> None:
        self._portal = portal
        self._source = source

    def list(
        self,
        *,
        kind: Sequence[str] = (),
        flow: str | None = None,
        approver: str | None = None,
        due_before: datetime | None = None,
        by_due: bool = False,
        limit: int | None = None,
    ) -> Iterator[Wait]:
        """Open waits, the oldest first, fetched page by page while you iterate.

        Args:
            kind: approval, ask, signal, pause; without it all but pauses.
            approver: a name as flows write it, or `me`: what the caller may answer.
            by_due: those that expire, the next one first.
        """
        return self._portal.iterate(
            self._source.list(
                kind=kind, flow=flow, approver=approver, due_before=due_before, by_due=by_due, limit=limit
            )
        )


class System:
    """`client.system`."""

    def __init__(self, portal: Portal, source: AsyncSystem) -> None:
        self._portal = portal
        self._source = source

    def info(self) -> SystemInfo:
        """Version, store, engine, flow folders."""
        return self._portal.call(self._source.info())

    def ready(self) -> Health:
        """Whether it takes work. Raises ServerBusy when it does not."""
        return self._portal.call(self._source.ready())

    def workers(self) -> list[Worker]:
        """The processes that run executions."""
        return self._portal.call(self._source.workers())

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document of the server."""
        return self._portal.call(self._source.openapi())

    def events(
        self,
        *,
        cursor: str | None = None,
        flow: str | None = None,
        namespace: str | None = None,
        execution: str | None = None,
        types: Sequence[str] = (),
        on_reconnect: OnReconnect | None = None,
        on_reset: OnReset | None = None,
    ) -> Iterator[Event]:
        """Events of all executions of the workspace from now on, or behind a cursor. Never ends by itself.

        Only those that fit everything given: a flow, a namespace, an execution's id, one of the types.

        Events are kept for a time: `on_reset` is told when some behind the cursor were no longer there, before
        the first that follows the gap.
        """
        return self._portal.iterate(
            self._source.events(
                cursor=cursor,
                flow=flow,
                namespace=namespace,
                execution=execution,
                types=types,
                on_reconnect=on_reconnect,
                on_reset=on_reset,
            )
        )

    def live(
        self,
        subscriptions: Sequence[Subscribe],
        *,
        on_reconnect: OnReconnect | None = None,
        on_reset: OnLiveReset | None = None,
    ) -> Iterator[tuple[str, Event]]:
        """(subscription's id, event) of several subscriptions over one connection, each without gap or double.

        Ends when all have ended: one of an execution does with it, one of a flow, of types or of all never does.
        A broken connection is taken up again; `on_reset` is told where a subscription's cursor was of no use.
        """
        return self._portal.iterate(self._source.live(subscriptions, on_reconnect=on_reconnect, on_reset=on_reset))
