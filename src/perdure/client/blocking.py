"""The sync resources. Made by `scripts/generate_sync_client.py` from the async ones; change those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from perdure.client.artifacts import AsyncArtifacts
from perdure.client.execution import AsyncExecutionHandle
from perdure.client.executions import AsyncExecutions
from perdure.client.flows import AsyncFlows
from perdure.client.portal import Portal
from perdure.client.streams import OnReconnect, OnReset
from perdure.client.system import AsyncSystem
from perdure.client.tokens import AsyncTokens
from perdure.wire.artifacts import Artifact
from perdure.wire.events import Event, LogLine
from perdure.wire.executions import (
    Execution,
    ExecutionStats,
    ExecutionSummary,
    Explanation,
    StartExecution,
)
from perdure.wire.flows import Flow, FlowDetail, FlowVersion, FlowVersionDetail, Validation
from perdure.wire.nodes import ExecutionGraph, FlowGraph, NodeRun
from perdure.wire.system import CreatedToken, Health, SystemInfo, Token, Worker


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
        on_reconnect: OnReconnect | None = None,
    ) -> Iterator[LogLine]:
        """What its nodes printed and logged, in order; with `follow` until it has ended.

        Of an execution that has ended, however much it printed, they come in a single stream.

        Args:
            since: an RFC 3339 time, or how long ago (`10m`).
            level: the lowest level to tell: debug, info, warning, error.
        """
        return self._portal.iterate(
            self._source.logs(follow=follow, since=since, level=level, node=node, on_reconnect=on_reconnect)
        )

    def cancel(self, *, reason: str | None = None, force: bool = False) -> Execution:
        """Ask it to end; `force` gives running attempts no grace. Raises ExecutionEnded when it has ended already."""
        return self._portal.call(self._source.cancel(reason=reason, force=force))

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

    def get(self, id: str, *, include: Sequence[str] = ()) -> Execution:
        """One execution; `include` may name nodes, waits, artifacts, config. Raises ExecutionNotFound."""
        return self._portal.call(self._source.get(id, include=include))

    def handle(self, id: str) -> ExecutionHandle:
        """One execution as something to wait for and to follow. Raises ExecutionNotFound."""
        return ExecutionHandle(self._portal, self._portal.call(self._source.handle(id)))

    def list(
        self,
        *,
        status: Sequence[str] = (),
        flow: str | None = None,
        namespace: str | None = None,
        tags: Mapping[str, str] | None = None,
        trigger: str | None = None,
        kind: str | None = None,
        parent: str | None = None,
        root: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        oldest_first: bool = False,
        limit: int | None = None,
    ) -> Iterator[ExecutionSummary]:
        """Executions that fit all conditions, newest first, fetched page by page while you iterate.

        Units, the parts of executions that run elsewhere, are among them where `kind` is unit or any.
        """
        return self._portal.iterate(
            self._source.list(
                status=status,
                flow=flow,
                namespace=namespace,
                tags=tags,
                trigger=trigger,
                kind=kind,
                parent=parent,
                root=root,
                created_after=created_after,
                created_before=created_before,
                oldest_first=oldest_first,
                limit=limit,
            )
        )

    def stats(
        self, *, group_by: Sequence[str] = ("status",), flow: str | None = None, namespace: str | None = None
    ) -> ExecutionStats:
        """Counts by status, flow, namespace, trigger, hour or day."""
        return self._portal.call(self._source.stats(group_by=group_by, flow=flow, namespace=namespace))


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
        self, *, cursor: str | None = None, on_reconnect: OnReconnect | None = None, on_reset: OnReset | None = None
    ) -> Iterator[Event]:
        """Events of all executions of the workspace from now on, or behind a cursor. Never ends by itself.

        Events are kept for a time: `on_reset` is told when some behind the cursor were no longer there, before
        the first that follows the gap.
        """
        return self._portal.iterate(self._source.events(cursor=cursor, on_reconnect=on_reconnect, on_reset=on_reset))
