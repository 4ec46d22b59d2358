"""The one writing connection: a batch is one durable transaction, carried out exactly once.

Each transaction that changes something counts up `writers.commits`. When a connection is lost during COMMIT, nobody
knows whether the transaction is in: the next session of the same writer fences the old one off, reads
the count, and then knows; the outcome was kept.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import NamedTuple

from perdure.errors import CommitUnknown, RowRefused, StoreError, StoreUnavailable
from perdure.store.faults import reach
from perdure.store.interface import Batch, BatchOutcome
from perdure.store.postgres.connection import WRITING, Connection, connect, local_settings
from perdure.store.postgres.failures import (
    COLLISIONS,
    DOUBLES,
    is_certain,
    is_loss,
    sqlstate,
    translated,
    unavailable,
)
from perdure.store.postgres.migrate import read_schema, refuse_older
from perdure.store.postgres.runner import Runner, Statements
from perdure.store.postgres.url import Address
from perdure.store.procedures.batch import apply_batch, is_hindrance
from perdure.store.statements import All, Procedure

PATIENCE_S = 20.0
"""For a whole transaction; the server's own limits for locks and idleness are shorter."""
TRIES = 6
"""How often a batch begins anew because of other transactions."""
PAUSE_S = 0.02
"""The longest pause before the second try; it doubles with each."""
SETTLING_PAUSES_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Before each attempt to learn what became of a commit, in one call."""


class _Unknown(NamedTuple):
    """A batch of which the COMMIT was sent and not answered."""

    batch: Batch
    commits: int
    outcome: BatchOutcome


class Writer:
    """Used from one event loop, one call at a time."""

    def __init__(self, address: Address, statements: Statements) -> None:
        self.number = 0
        """The feed's writer; 0 until the first connection."""
        self._address = address
        self._statements = statements
        self._name = f"perdure writer {secrets.token_hex(6)}"
        self._connection: Connection | None = None
        self._begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE" + local_settings(address, WRITING)
        self._session = 0
        self._commits = 0
        self._feed_n = 0
        self._unknown: _Unknown | None = None

    async def open(self) -> None:
        """Raises `StoreUnavailable`, `StoreBusy`, `StoreIncompatible`."""
        connection = await connect(self._address, WRITING, name=self._name)
        try:
            refuse_older(await read_schema(connection, self._address), self._address)
            if self.number:
                await self._run_alone(connection, _end_sessions(self._name))
            row = await self._run_alone(connection, _take_up(self.number))
        except BaseException as error:
            connection.terminate()
            raise translated(error, self._address.place) or error from error
        self._connection = connection
        self.number, self._session, self._commits, self._feed_n = row

    async def write(self, batch: Batch) -> BatchOutcome:
        """Raises `StoreFull`, `StoreBusy`, `StoreUnavailable`, `StoreDamaged`; then nothing was written.

        After `CommitUnknown`, the same batch is to be given again.
        """
        tries, careful = 0, False
        while True:
            known = await self._settle()
            if known is not None and known.batch is batch:
                return known.outcome
            try:
                return await self._transaction(batch, careful=careful)
            except CommitUnknown:
                tries += 1
                if tries == TRIES:
                    raise
            except Exception as error:
                tries += 1
                if tries < TRIES and _is_worth_another(error, careful=careful):
                    await asyncio.sleep(random.uniform(0, PAUSE_S * 2**tries))
                    continue
                if careful or is_hindrance(error):
                    raise
                careful = True

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                await connection.close(timeout=1.0)
            except Exception:
                connection.terminate()

    async def _settle(self) -> _Unknown | None:
        """Learn what became of a commit that was not answered; the answer is the batch, if it is in."""
        unknown = self._unknown
        if unknown is None:
            return None
        *_, last = SETTLING_PAUSES_S
        for pause in SETTLING_PAUSES_S:
            await asyncio.sleep(pause)
            try:
                await self.open()
                break
            except StoreUnavailable as error:
                if pause == last:
                    raise CommitUnknown(error.message, **error.details) from error
        self._unknown = None
        return unknown if self._commits >= unknown.commits else None

    async def _transaction(self, batch: Batch, *, careful: bool) -> BatchOutcome:
        if self._connection is None or self._connection.is_closed():
            await self.open()
        connection = self._connection
        assert connection is not None
        runner = Runner(connection, self._statements, self._address.place, one_by_one=careful)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await connection.execute(self._begin)
                feed = (self.number, self._feed_n + 1)
                outcome = await runner.run(apply_batch(batch, feed, careful=careful))
                reach("before_commit")
                if not runner.has_written:
                    await connection.execute("ROLLBACK")
        except BaseException as error:
            known = translated(error, self._address.place)
            await self._undo(connection, known)
            if is_loss(known) and not isinstance(error, TimeoutError):
                raise _Gone(known.message, **known.details) from error
            if known is None or known is error:
                raise
            raise known from error
        if runner.has_written:
            await self._commit(connection, batch, outcome)
        reach("after_commit")
        return outcome

    async def _commit(self, connection: Connection, batch: Batch, outcome: BatchOutcome) -> None:
        feed_n = self._feed_n if outcome.feed is None else outcome.feed[1]
        marks = {"number": self.number, "session": self._session, "commits": self._commits + 1, "n": feed_n}
        try:
            async with asyncio.timeout(PATIENCE_S):
                await connection.execute(f"{self._statements.literal('writer_mark', marks)}; COMMIT")
        except BaseException as error:
            known = translated(error, self._address.place)
            if not is_certain(error):
                self._unknown = _Unknown(batch, self._commits + 1, outcome)
                self._drop(connection)
                if isinstance(error, Exception):
                    raise CommitUnknown(f"whether it was written is not known: {error}") from error
                raise
            await self._undo(connection, known)
            if isinstance(known, RowRefused):
                # Only the mark can be refused here: another session took this writer over, or a migration ended it.
                self._drop(connection)
                raise unavailable(self._address.place, "this session's right to write has ended") from error
            raise known or error from error
        self._commits += 1
        self._feed_n = feed_n

    async def _undo(self, connection: Connection, known: StoreError | None) -> None:
        """A connection of which it is not sure that nothing is left on it is given up."""
        if not is_loss(known) and not connection.is_closed():
            try:
                async with asyncio.timeout(1.0):
                    await connection.execute("ROLLBACK")
            except Exception:
                self._drop(connection)
            return
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.terminate()
        self._connection = None

    async def _run_alone(self, connection: Connection, procedure: Procedure[tuple[int, ...]]) -> tuple[int, ...]:
        async with asyncio.timeout(PATIENCE_S):
            await connection.execute(self._begin)
            answer = await Runner(connection, self._statements, self._address.place).run(procedure)
            await connection.execute("COMMIT")
        return answer


class _Gone(StoreUnavailable):
    """The connection was lost, perhaps long ago, before anything was committed: a new one may do."""


def _is_worth_another(error: Exception, *, careful: bool) -> bool:
    """Whether the same batch may fare better at once: others were in its way, or its connection was lost."""
    state = sqlstate(error)
    return isinstance(error, _Gone) or state in COLLISIONS or (state in DOUBLES and not careful)


def _take_up(number: int) -> Procedure[tuple[int, ...]]:
    """Our row among the writers, under a new session; waits for what an older session has begun to commit."""
    rows = (yield All("writer_resume", {"number": number})) if number else []
    if not rows:
        rows = yield All("writer_open")
    return tuple(rows[0])


def _end_sessions(name: str) -> Procedure[tuple[int, ...]]:
    rows = yield All("writer_sessions_end", {"name": name})
    return (len(rows),)
