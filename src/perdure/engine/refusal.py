"""An execution that was claimed but cannot be run here: it fails with the reason, rather than come again for ever."""

from __future__ import annotations

from perdure.model.event import Event, EventType
from perdure.model.failure import Failure
from perdure.model.states import ExecutionStatus
from perdure.store.interface import Advanced, Lost
from perdure.store.records import Advance, ExecutionRecord


class Refusal:
    """A source for the recorder that brings one last advance."""

    def __init__(self, record: ExecutionRecord, error: Exception, at: int) -> None:
        message = f"its rows or its flow version cannot be read: {type(error).__name__}: {error}"
        self._failure = Failure(code="unreadable", message=message, retryable=False)
        self._record = record
        self._at = at

    def drain(self) -> Advance | None:
        record = self._record
        cancelling = record.status is ExecutionStatus.CANCELLING
        data = {"code": self._failure.code, "message": self._failure.message[:500]}
        event = EventType.EXECUTION_CANCELLED if cancelling else EventType.EXECUTION_FAILED
        return Advance(
            execution_id=record.id,
            workspace=record.workspace,
            flow=record.flow,
            epoch=record.epoch,
            status=ExecutionStatus.CANCELLED if cancelling else ExecutionStatus.FAILED,
            previous=record.status,
            release=True,
            recoveries=record.recoveries,
            crashes=record.crashes,
            finished_at=self._at,
            updated_at=self._at,
            events=[Event(event, self._at, data=data)],
            error=self._failure.public(),
            trigger_kind=record.trigger_kind,
            created_at=record.created_at,
        )

    def committed(self, outcome: Advanced | Lost | Exception) -> None:
        """Whatever became of it: there is nothing left to do here."""
