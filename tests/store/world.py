"""A store under test with a clock of its own, and short words for what owners and callers do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import uuid_utils

from perdure.base.clock import SECOND
from perdure.model.definition import OnLimit
from perdure.model.event import Event, EventType
from perdure.model.states import TERMINAL, ExecutionStatus, NodeStatus
from perdure.store.commands import (
    CancelExecutions,
    ClaimExecutions,
    Command,
    FireTimers,
    InterruptWorkers,
    RegisterWorker,
    SendMessages,
    StartExecutions,
)
from perdure.store.interface import Advanced, Batch, BatchOutcome, ExecutionFilter, Lost, Page, Store
from perdure.store.records import (
    Advance,
    Claimed,
    ExecutionRecord,
    LimitClaim,
    NewExecution,
    NodeRunRecord,
    RateClaim,
    Started,
    Value,
    WorkerRecord,
)
from tests.store.portal import call

WORKSPACE = "default"
FLOW = "tests/flow"
BEGIN = 1_800_000_000 * SECOND
END_EVENT = {status: EventType(f"execution.{status}") for status in TERMINAL}


def value(text: str) -> Value:
    return Value(text, None, len(text))


class World:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = BEGIN
        self.last: BatchOutcome | None = None
        self._boots: dict[str, list[str]] = {}

    def later(self, micros: int) -> int:
        self.now += micros
        return self.now

    def id(self) -> bytes:
        """Ids follow the clock of this world."""
        self.now += 1_000
        return uuid_utils.uuid7(nanoseconds=self.now * 1000).bytes

    def write(self, *commands: Command, advances: tuple[Advance, ...] = ()) -> BatchOutcome:
        self.last = call(self.store.write, Batch(advances=list(advances), commands=list(commands)))
        return self.last

    def do(self, command: Command) -> Any:
        """The answer to one command; an error is raised."""
        answer = self.write(command).results[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    # ------------------------------------------------------------------------------------ starts

    def new(self, **fields: Any) -> NewExecution:
        id = fields.pop("id", None) or self.id()
        parent: ExecutionRecord | None = fields.pop("of", None)
        if (name := fields.pop("claim_by", None)) is not None:
            fields["claim_by"] = self.worker(name)
        if parent is not None:
            fields = {"parent_node": "call", "parent_ordinal": 0, "parent_attempt": 1, "trigger_kind": "flow"} | fields
            fields |= {"parent": parent.id, "root": parent.root, "depth": parent.depth + 1}
        given: dict[str, Any] = {
            "workspace": WORKSPACE,
            "flow": FLOW,
            "flow_version": 1,
            "input": value("{}"),
            "priority": 5,
            "queue": "default",
            "tags": {},
            "trigger_kind": "api",
            "root": id,
            "created_at": self.now,
        }
        return NewExecution(id=id, **(given | fields))

    def start(self, *news: NewExecution, atomic: bool = False, **fields: Any) -> Any:
        """The answer for one start; a list of answers for several."""
        given = list(news) or [self.new(**fields)]
        answers = self.do(StartExecutions(at=self.now, executions=given, atomic=atomic))
        if len(news) > 1:
            return answers
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    def limit(self, limit: int = 1, key: str = "key", on_limit: OnLimit = OnLimit.QUEUE) -> LimitClaim:
        return LimitClaim(key, limit, on_limit)

    def rate(self, limit: int, per: int, key: str = "rate") -> RateClaim:
        return RateClaim(key, limit, per)

    # ------------------------------------------------------------------------------------ owners

    def worker(self, name: str) -> str:
        """The id of the worker of that name, registered and alive; a new one after it was declared dead."""
        boots = self._boots.setdefault(name, [])
        if not boots or boots[-1] == "":
            boots[-1:] = [name if not boots else f"{name}-{len(boots)}"]
            record = WorkerRecord(
                id=boots[-1], name=name, number=0, host="h", pid=1, started_at=self.now, heartbeat_at=self.now
            )
            if boots[-1] not in {known.id for known in call(self.store.workers.list)}:
                self.do(RegisterWorker(at=self.now, worker=record))
        return boots[-1]

    def _declare_dead(self, names: Iterable[str]) -> None:
        for name in names:
            if self._boots.get(name, [""])[-1]:
                self._boots[name].append("")

    def claim(self, worker: str = "w1", *, limit: int = 100, **fields: Any) -> list[Claimed]:
        given: dict[str, Any] = {"queues": None, "worker": self.worker(worker)} | fields
        claimed: list[Claimed] = self.do(ClaimExecutions(at=self.now, limit=limit, **given))
        return claimed

    def advancing(self, record: ExecutionRecord | Started, status: ExecutionStatus, **fields: Any) -> Advance:
        """An owner's next write; ends and suspensions release, and bring their own event."""
        given: dict[str, Any] = {
            "workspace": WORKSPACE,
            "flow": FLOW,
            "epoch": record.epoch,
            "previous": record.status,
            "updated_at": self.now,
            "events": [],
        }
        if status in TERMINAL:
            given |= {"release": True, "finished_at": self.now, "events": [Event(END_EVENT[status], self.now)]}
        elif status is ExecutionStatus.SUSPENDED:
            given |= {"release": True, "events": [Event(EventType.EXECUTION_SUSPENDED, self.now)]}
        return Advance(execution_id=record.id, status=status, **(given | fields))

    def advance(
        self, record: ExecutionRecord | Started, status: ExecutionStatus, **fields: Any
    ) -> Advanced | Lost | Exception:
        return self.write(advances=(self.advancing(record, status, **fields),)).advances[0]

    def end(self, record: ExecutionRecord | Started, status: ExecutionStatus = ExecutionStatus.COMPLETED) -> None:
        assert isinstance(self.advance(record, status), Advanced)

    def suspend(self, record: ExecutionRecord | Started, **fields: Any) -> None:
        assert isinstance(self.advance(record, ExecutionStatus.SUSPENDED, **fields), Advanced)

    def started(self, worker: str = "w1", **fields: Any) -> Any:
        """A start that is claimed at once."""
        return self.start(claim_by=worker, **fields)

    def node_run(self, node: str = "n", status: NodeStatus = NodeStatus.RUNNING, **fields: Any) -> NodeRunRecord:
        return NodeRunRecord(node=node, type="python", status=status, started_at=self.now, **fields)

    # ------------------------------------------------------------------------------------ others

    def cancel(self, *ids: bytes, **fields: Any) -> list[Any]:
        answers: list[Any] = self.do(CancelExecutions(at=self.now, workspace=WORKSPACE, ids=list(ids), **fields))
        return answers

    def send(self, id: bytes, kind: str = "signal", data: dict[str, Any] | None = None) -> None:
        self.do(SendMessages(at=self.now, messages=[(id, kind, data or {})]))

    def fire(self, limit: int = 500) -> Any:
        return self.do(FireTimers(at=self.now, limit=limit))

    def interrupt(self, *names: str, all_but: str | None = None) -> list[bytes]:
        """Workers never heard of are dead as well."""
        ids = tuple(self._boots.get(name, [name])[-1] or name for name in names)
        spared = None if all_but is None else self.worker(all_but)
        found: list[bytes] = self.do(InterruptWorkers(at=self.now, workers=ids, all_but=spared))
        self._declare_dead(names if all_but is None else [name for name in self._boots if name != all_but])
        return found

    # ------------------------------------------------------------------------------------- reads

    async def get(self, id: bytes) -> ExecutionRecord:
        found = await self.store.executions.get(WORKSPACE, id)
        assert found is not None
        return found

    async def status(self, id: bytes) -> tuple[ExecutionStatus, str | None]:
        record = await self.get(id)
        return record.status, record.reason

    async def events(self, id: bytes) -> list[Event]:
        """All of them; checks on the way that they are numbered 1, 2, 3, … up to the execution's last."""
        found: list[Event] = []
        before = (await self.get(id)).last_seq
        for chunk in await self.store.events.page(WORKSPACE, id, 0, 1_000_000):
            assert chunk.first_seq == len(found) + 1
            found += chunk.events
        # A commit may come between two reads; when none does, the three are equal.
        assert before <= len(found) <= (await self.get(id)).last_seq
        return found

    async def types(self, id: bytes) -> list[str]:
        return [event.type for event in await self.events(id)]

    async def all(self, **conditions: Any) -> list[ExecutionRecord]:
        return await self.store.executions.list(WORKSPACE, ExecutionFilter(**conditions), Page(limit=100_000))

    async def messages(self, id: bytes) -> list[tuple[str, dict[str, Any]]]:
        found = await self.store.messages([id])
        return [(message.kind, message.data) for message in found.get(id, [])]


def hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
