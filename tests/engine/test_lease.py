"""A lease is kept by heartbeats, and given up in time by the worker itself when these fail."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from perdure.engine.lease import EXIT_CODE, Lease
from perdure.errors import StoreUnavailable

LENGTH_S = 0.6
PATIENCE_S = 20


class Answers:
    """A store as far as its heartbeats go; `answer` says what each is answered with."""

    def __init__(self, answer: Callable[[], bool]) -> None:
        self.answer = answer
        self.beats = 0
        self.third = threading.Event()
        self.closed = threading.Event()

    def beat(self, worker: str, *, within_s: float) -> bool:
        assert worker == "me"
        assert 0 < within_s <= LENGTH_S / 3
        self.beats += 1
        if self.beats == 3:
            self.third.set()
        return self.answer()

    def close(self) -> None:
        self.closed.set()


class Owned:
    """What a worker has, and how it lets go of it."""

    def __init__(self, *, holds: bool = True, lets_go: bool = True) -> None:
        self.holds = holds
        self.lets_go = lets_go
        self.lost = asyncio.Event()
        self.exits: list[int] = []
        self.exited = threading.Event()
        self.moments: list[float] = []
        """Until when whatever has an effect may live, as it was told."""

    async def lose(self) -> bool:
        self.lost.set()
        return self.lets_go

    def end(self, code: int) -> None:
        self.exits.append(code)
        self.exited.set()

    def lease(self, answers: Answers, *, now: Callable[[], float] = time.monotonic) -> Lease:
        lease = Lease(
            answers, length_s=LENGTH_S, holds=lambda: self.holds, lost=self.lose, end=self.end, now=now,
            let_run_until=self.moments.append,
        )  # fmt: skip
        lease.begin("me", sent_at=now())
        return lease


def _unreachable() -> bool:
    raise StoreUnavailable("nobody answers")


async def test_it_is_kept_while_heartbeats_are_answered() -> None:
    answers, owned = Answers(lambda: True), Owned()
    lease = owned.lease(answers)
    assert await asyncio.to_thread(answers.third.wait, PATIENCE_S)
    assert lease.allows()
    await lease.stop()
    assert answers.closed.is_set()
    assert not owned.lost.is_set()
    assert not lease.allows()


async def test_who_was_declared_dead_lets_go_at_once() -> None:
    answers, owned = Answers(lambda: False), Owned()
    lease = owned.lease(answers)
    async with asyncio.timeout(PATIENCE_S):
        await owned.lost.wait()
    assert not lease.allows()
    await lease.stop()
    assert answers.beats == 1
    assert owned.exits == []


async def test_who_says_goodbye_is_not_alarmed_by_its_own_end() -> None:
    asked, goodbye = threading.Event(), threading.Event()

    def hear_it() -> bool:
        asked.set()
        assert goodbye.wait(PATIENCE_S)
        return False

    owned = Owned()
    lease = owned.lease(Answers(hear_it))
    assert await asyncio.to_thread(asked.wait, PATIENCE_S)
    lease.retire()
    assert not lease.allows()
    goodbye.set()
    await lease.stop()
    assert not owned.lost.is_set()
    assert owned.exits == []


async def test_who_hears_nothing_lets_go_before_others_may_take_over() -> None:
    began = time.monotonic()
    owned = Owned()
    lease = owned.lease(Answers(_unreachable))
    async with asyncio.timeout(PATIENCE_S):
        await owned.lost.wait()
    assert time.monotonic() - began >= LENGTH_S * 2 / 3
    assert not lease.allows()
    await lease.stop()
    assert owned.exits == []


async def test_nothing_begins_from_two_thirds_on_even_before_the_thread_has_noticed() -> None:
    moment = [100.0]
    owned = Owned()
    blocked = threading.Event()
    lease = owned.lease(Answers(lambda: bool(blocked.wait(PATIENCE_S))), now=lambda: moment[0])
    assert lease.allows()
    moment[0] += LENGTH_S * 0.7
    assert not lease.allows()
    moment[0] -= LENGTH_S
    blocked.set()
    await lease.stop()


@contextmanager
def _loop_held(until: threading.Event) -> Iterator[None]:
    """The loop does nothing else until that is set."""
    yield
    assert until.wait(PATIENCE_S)


async def test_a_process_whose_loop_does_not_let_go_ends_itself() -> None:
    owned = Owned()
    lease = owned.lease(Answers(_unreachable))
    with _loop_held(owned.exited):
        pass
    assert owned.exits == [EXIT_CODE]
    await lease.stop()


async def test_a_process_ends_itself_where_something_cannot_be_stopped() -> None:
    owned = Owned(lets_go=False)
    lease = owned.lease(Answers(lambda: False))
    assert await asyncio.to_thread(owned.exited.wait, PATIENCE_S)
    assert owned.exits == [EXIT_CODE]
    await lease.stop()


async def test_a_process_that_stood_still_for_longer_than_its_lease_ends_itself() -> None:
    moment = [100.0]

    def stand_still() -> bool:
        moment[0] += LENGTH_S * 2
        raise StoreUnavailable("the answer came too late")

    owned = Owned()
    lease = owned.lease(Answers(stand_still), now=lambda: moment[0])
    assert await asyncio.to_thread(owned.exited.wait, PATIENCE_S)
    assert not owned.lost.is_set()
    await lease.stop()


async def test_an_answer_that_comes_when_all_was_killed_renews_nothing() -> None:
    moment = [100.0]

    def stand_still() -> bool:
        moment[0] = max(moment[0], 100.0 + LENGTH_S * 0.95)
        return True

    owned = Owned()
    lease = owned.lease(Answers(stand_still), now=lambda: moment[0])
    async with asyncio.timeout(PATIENCE_S):
        await owned.lost.wait()
    assert not lease.allows()
    assert owned.moments == [pytest.approx(100.0 + LENGTH_S * 0.9)]
    await lease.stop()
    assert owned.exits == []


async def test_each_heartbeat_gives_what_runs_more_time_until_nothing_is_owned() -> None:
    answers, owned = Answers(lambda: True), Owned()
    lease = owned.lease(answers)
    assert await asyncio.to_thread(answers.third.wait, PATIENCE_S)
    await lease.stop()
    *moments, last = owned.moments
    assert len(moments) >= 3
    assert moments == sorted(moments)
    assert last == math.inf


async def test_who_owns_nothing_lives_on_whatever_happened() -> None:
    owned = Owned(holds=False, lets_go=False)
    lease = owned.lease(Answers(lambda: False))
    async with asyncio.timeout(PATIENCE_S):
        await owned.lost.wait()
    await lease.stop()
    assert owned.exits == []


async def test_a_lease_can_begin_anew() -> None:
    answers, owned = Answers(lambda: False), Owned()
    lease = owned.lease(answers)
    async with asyncio.timeout(PATIENCE_S):
        await owned.lost.wait()
    answers.answer = lambda: True
    lease.begin("me", sent_at=time.monotonic())
    assert lease.allows()
    assert await asyncio.to_thread(answers.third.wait, PATIENCE_S)
    assert lease.allows()
    await lease.stop()
