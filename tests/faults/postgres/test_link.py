"""The wire of the scenes does to messages what it says."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from tests.faults.harness.link import BOTH, DOWN, UP, Act, Link, Strike
from tests.faults.harness.waiting import until
from tests.faults.harness.wire import ClientMessages, Message, failing, query
from tests.postgres_server import Postgres

WRITING = "INSERT INTO writers VALUES (1); COMMIT"


@pytest.fixture
def link(postgres: Postgres) -> Iterator[Link]:
    postgres.run("DROP TABLE IF EXISTS writers; CREATE TABLE writers (n int)")
    made = Link(postgres.port)
    yield made
    made.close()


async def connected(link: Link, postgres: Postgres) -> asyncpg.Connection:
    return await asyncpg.connect(postgres.url(port=link.port), ssl=False, timeout=20)


def written(postgres: Postgres) -> int:
    return int(postgres.run("SELECT count(*) FROM writers"))


def test_messages_are_told_apart_wherever_they_are_cut() -> None:
    tls = b"\0\0\0\x08\x04\xd2\x16\x2f"
    startup = b"\0\0\0\x0d\0\3\0\0user\0"
    sent = [tls, startup, query("BEGIN"), b"S\0\0\0\4", query(WRITING)]
    for size in (1, 3, 7, 1000):
        data, messages, found = b"".join(sent), ClientMessages(), []
        for start in range(0, len(data), size):
            found += messages.feed(data[start : start + size])
        assert found == [Message(b"", tls), Message(b"", startup), *(Message(one[:1], one) for one in sent[2:])]
        assert [one.commits for one in found] == [False, False, False, False, True]


@pytest.mark.parametrize(("act", "rows"), [(Act.LOSE, 0), (Act.LOSE_REPLY, 1)])
async def test_a_commit_is_lost_or_its_answer_is(link: Link, postgres: Postgres, act: Act, rows: int) -> None:
    link.rule = strike = Strike(act, nth=2)
    connection = await connected(link, postgres)
    await connection.execute("BEGIN")
    await connection.execute(WRITING)
    await connection.execute("BEGIN")
    with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await connection.execute(WRITING)
    assert strike.struck.is_set()
    assert written(postgres) == 1 + rows


async def test_a_commit_is_held_until_it_is_released(link: Link, postgres: Postgres) -> None:
    link.rule = Strike(Act.HOLD)
    connection = await connected(link, postgres)
    await connection.execute("BEGIN")
    with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await connection.execute(WRITING)
    assert written(postgres) == 0
    link.release()
    until(lambda: written(postgres) == 1, within_s=20, what="it is committed")


async def test_a_stalled_commit_comes_late_and_is_answered(link: Link, postgres: Postgres) -> None:
    link.rule = stall = Strike(Act.STALL)
    connection = await connected(link, postgres)
    await connection.execute("BEGIN")
    waiting = asyncio.ensure_future(connection.execute(WRITING))
    await asyncio.to_thread(stall.struck.wait, 20)
    assert written(postgres) == 0
    assert not waiting.done()
    link.release()
    await waiting
    assert written(postgres) == 1
    await connection.close()


async def test_a_commit_fails_as_the_server_would_have_it(link: Link, postgres: Postgres) -> None:
    link.rule = Strike(failing("40P01"))
    connection = await connected(link, postgres)
    await connection.execute("BEGIN")
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await connection.execute(WRITING)
    await connection.execute("ROLLBACK")
    assert await connection.fetchval("SELECT 1") == 1
    assert written(postgres) == 0
    await connection.close()


@pytest.mark.parametrize("directions", [(UP,), (DOWN,), BOTH], ids=["up", "down", "both"])
async def test_silence_delays_what_is_said_until_it_heals(
    link: Link, postgres: Postgres, directions: tuple[str, ...]
) -> None:
    connection = await connected(link, postgres)
    link.silence(*directions)
    answer = asyncio.ensure_future(connection.fetchval("SELECT 1"))
    with pytest.raises(TimeoutError):
        await asyncpg.connect(postgres.url(port=link.port), ssl=False, timeout=0.2)
    assert not answer.done()
    link.heal()
    assert await answer == 1
    await connection.close()


async def test_only_who_listens_goes_deaf(link: Link, postgres: Postgres) -> None:
    listener, other = await connected(link, postgres), await connected(link, postgres)
    await listener.execute("LISTEN something")
    link.silence(listening=True)
    with pytest.raises(TimeoutError):
        await listener.fetchval("SELECT 1", timeout=0.2)
    assert await other.fetchval("SELECT 1") == 1
    link.cut()
    with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await other.fetchval("SELECT 1")
    again = await connected(link, postgres)
    assert await again.fetchval("SELECT 1") == 1
    await again.close()
