"""What people and programs bring to executions from outside: responses, signals, pauses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from perdure.base.clock import Clock
from perdure.base.codec import INLINE_LIMIT, Json, encode
from perdure.base.ids import id_text
from perdure.engine.owners import Owners
from perdure.engine.values import Values
from perdure.errors import (
    ExecutionEnded,
    ExecutionNotFound,
    ExecutionStopping,
    InvalidAnswer,
    InvalidRequest,
    LimitExceeded,
    PerdureError,
    Problem,
    WaitAnswered,
    WaitNotOpen,
    invalid_request,
)
from perdure.flows.form import check_answer
from perdure.model.answer import APPROVAL, ASK, SIGNAL, Responder, Terms, terms_of
from perdure.model.states import TERMINAL, ExecutionStatus, NodeStatus
from perdure.store.commands import PauseExecution, Respond, ResumeExecution, SendSignal
from perdure.store.interface import Store
from perdure.store.recorder import Recorder
from perdure.store.records import Answered, NodeRunRecord, SignalSent, WaitRecord

_NAME = re.compile(r"(?P<node>[A-Za-z_][A-Za-z0-9_]{0,62})(\[(?P<ordinal>\d{1,9})\])?(@(?P<attempt>\d{1,9}))?")
_RUNS_READ = 1_000


def wait_name(wait: WaitRecord) -> str:
    """How the wait of a node run is called: `node@attempt`, `node[ordinal]@attempt`."""
    ordinal = f"[{wait.ordinal}]" if wait.ordinal else ""
    attempt = f"@{wait.data['attempt']}" if wait.data is not None and "attempt" in wait.data else ""
    return f"{wait.node}{ordinal}{attempt}"


class Answers:
    """Used on the engine's loop."""

    def __init__(self, *, store: Store, recorder: Recorder, clock: Clock, owners: Owners, values: Values) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._owners = owners
        self._values = values

    async def respond(
        self,
        workspace: str,
        id_: bytes,
        *,
        responder: Responder,
        wait: str | None,
        approved: bool | None,
        answer: Json,
        has_answer: bool,
        comment: str | None,
    ) -> Answered:
        """Answer a wait, exactly once; durable when it returns.

        Args:
            wait: `node`, `node[ordinal]`, each with `@attempt` where that matters; None is the only one that is open.

        Raises:
            InvalidRequest: several are open and none is named, or the name is none.
            InvalidAnswer: it is not what the wait asks for; all that is wrong with it at once.
            WaitNotOpen, WaitAnswered, AlreadyResponded, NotAnApprover, SelfApproval, LimitExceeded,
            ExecutionNotFound, ExecutionEnded, ExecutionStopping, StoreError
        """
        found = await self._find(workspace, id_, wait)
        terms = terms_of(found.data)
        if found.kind == APPROVAL:
            _check_approval(approved, has_answer=has_answer)
        else:
            answer = _checked(terms, answer, approved=approved, has_answer=has_answer)
        _check_size(answer)
        command = Respond(
            at=self._clock.now(), workspace=workspace, execution_id=id_, node=found.node, ordinal=found.ordinal,
            label=found.label, attempt=terms.attempt, responder=responder, approved=approved, answer=answer,
            comment=comment,
        )  # fmt: skip
        try:
            taken: Answered = await self._recorder.execute(command)
        except (WaitNotOpen, ExecutionEnded) as error:
            raise await self._told(workspace, id_, found.node, found.ordinal, error) from None
        return taken

    async def signal(self, workspace: str, id_: bytes, *, name: str, payload: Json, sender: str) -> SignalSent:
        """Send a signal; durable when it returns.

        Raises LimitExceeded, ExecutionNotFound, ExecutionEnded, ExecutionStopping, StoreError.
        """
        _check_size(payload)
        command = SendSignal(
            at=self._clock.now(), workspace=workspace, execution_id=id_, name=name, payload=payload, sender=sender
        )
        sent: SignalSent = await self._recorder.execute(command)
        return sent

    async def pause(self, workspace: str, id_: bytes, *, by: str, reason: str | None) -> None:
        """Begin nothing new in it; what has begun goes on to its end, and its deadline still counts.

        Raises ExecutionNotFound, ExecutionEnded, ExecutionStopping, StoreError.
        """
        command = PauseExecution(at=self._clock.now(), workspace=workspace, execution_id=id_, by=by, reason=reason)
        await self._recorder.execute(command)
        await self._owners.note(id_)

    async def resume(self, workspace: str, id_: bytes, *, by: str) -> None:
        """Go on with a paused one. Raises ExecutionNotFound, ExecutionEnded, ExecutionStopping, NotPaused, StoreError."""
        await self._recorder.execute(
            ResumeExecution(at=self._clock.now(), workspace=workspace, execution_id=id_, by=by)
        )  # fmt: skip
        await self._owners.note(id_)

    async def _find(self, workspace: str, id_: bytes, name: str | None) -> WaitRecord:
        """The open wait of that name, or the only one."""
        node, ordinal, attempt = _parsed(name)
        waits = [wait for wait in await self._store.waits.of(workspace, id_) if wait.kind in (APPROVAL, ASK, SIGNAL)]
        fitting = [
            wait for wait in waits
            if (node is None or wait.node == node)
            and (ordinal is None or wait.ordinal == ordinal)
            and (attempt is None or terms_of(wait.data).attempt == attempt)
        ]  # fmt: skip
        if node is None:
            fitting = [wait for wait in fitting if wait.kind != SIGNAL]
            undecided = [wait for wait in fitting if terms_of(wait.data).decision is None]
            fitting = undecided or fitting[:1]
        if len(fitting) > 1:
            names = ", ".join(wait_name(wait) for wait in fitting[:20])
            raise InvalidRequest(
                f"{len(fitting)} waits are open; name one: {names}",
                problems=(Problem("ambiguous", f"one of {names}", "/wait"),),
            )
        if fitting and fitting[0].kind == SIGNAL:
            detail = (
                f"node {fitting[0].node} waits for the signal {terms_of(fitting[0].data).name!r}; send that instead"
            )
            raise WaitNotOpen(detail)
        if fitting:
            return fitting[0]
        raise await self._told(workspace, id_, node, ordinal, None)

    async def _told(
        self, workspace: str, id_: bytes, node: str | None, ordinal: int | None, error: PerdureError | None
    ) -> PerdureError:
        """Why there is nothing to answer: who answered before, or the execution's end, or that it never waited."""
        record = await self._store.executions.get(workspace, id_)
        if record is None:
            return ExecutionNotFound.of(id_text(id_))
        # From the named one on: it may stand behind any number of others.
        after = None if node is None or not ordinal else (node, ordinal - 1, "")
        runs = await self._store.node_runs.list(workspace, id_, node=node, limit=_RUNS_READ, after=after)
        before = [
            told for run in runs
            if run.type in (APPROVAL, ASK) and (ordinal is None or run.ordinal == ordinal)
            and (told := await self._answered(run)) is not None
        ]  # fmt: skip
        if before:
            return max(before, key=lambda told: str(told.details["at"]))
        if record.status in TERMINAL:
            return ExecutionEnded.of(id_text(id_), record.status)
        if record.status is ExecutionStatus.CANCELLING:
            return ExecutionStopping.of(id_text(id_))
        which = "nobody's answer" if node is None else f"no answer to node {node}"
        return error or WaitNotOpen(f"execution {id_text(id_)} waits for {which}; it is {record.status}")

    async def _answered(self, run: NodeRunRecord) -> WaitAnswered | None:
        if run.status is NodeStatus.COMPLETED:
            told = await self._values.load(run.output)
        else:
            told = None if run.error is None else run.error.get("details")
        if not isinstance(told, dict) or not {"outcome", "by", "at"} <= told.keys():
            return None
        return WaitAnswered.of(
            run.node, outcome=told["outcome"], by=told["by"], at=told["at"], comment=told.get("comment"),
            answer=told.get("answer"),
        )  # fmt: skip


def responder_groups(role: str, ranked: Sequence[str]) -> tuple[str, ...]:
    """The approvers' words for a role: `operators` is everybody with at least that role. `ranked` begins at the lowest."""
    return tuple(f"{one}s" for one in ranked[: list(ranked).index(role) + 1])


def _parsed(name: str | None) -> tuple[str | None, int | None, int | None]:
    if name is None:
        return None, None, None
    match = _NAME.fullmatch(name)
    if match is None:
        detail = f"{name[:100]!r} names no wait; write a node, node[ordinal] or node[ordinal]@attempt"
        raise invalid_request([Problem("invalid_value", detail, "/wait")])
    ordinal, attempt = match["ordinal"], match["attempt"]
    return match["node"], None if ordinal is None else int(ordinal), None if attempt is None else int(attempt)


def _check_approval(approved: bool | None, *, has_answer: bool) -> None:
    problems = []
    if approved is None:
        problems.append(Problem("missing_field", "an approval is answered with approved: true or false", "/approved"))
    if has_answer:
        problems.append(Problem("invalid_value", "an approval takes no answer; say approved, and comment", "/answer"))
    if problems:
        raise InvalidAnswer("the response does not fit an approval", problems=tuple(problems))


def _checked(terms: Terms, answer: Json, *, approved: bool | None, has_answer: bool) -> Json:
    """The answer as the form has it; None where somebody refuses to answer."""
    if approved is False:
        if has_answer:
            detail = "who refuses to answer (approved: false) gives no answer"
            raise InvalidAnswer(detail, problems=(Problem("invalid_value", detail, "/answer"),))
        return None
    if not has_answer:
        detail = "the form is answered with answer, or refused with approved: false"
        raise InvalidAnswer(detail, problems=(Problem("missing_field", detail, "/answer"),))
    try:
        return check_answer(terms.form, answer)
    except InvalidAnswer as error:
        placed = tuple(
            Problem(problem.code, problem.detail, f"/answer{problem.pointer or ''}") for problem in error.problems
        )  # fmt: skip
        raise InvalidAnswer(error.message, problems=placed) from None


def _check_size(value: Any) -> None:
    size = len(encode(value))
    if size > INLINE_LIMIT:
        raise LimitExceeded(
            f"it has {size} bytes as JSON, the limit is {INLINE_LIMIT}; publish what is larger and send its address",
            limit_bytes=INLINE_LIMIT,
        )
