"""Changes that go together in one round trip do what they do one after the other."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from perdure.errors import RowRefused
from perdure.store.postgres.connection import WRITING, Connection, connect
from perdure.store.postgres.gathering import MOST_TEXTS, TRIGGERED, together
from perdure.store.postgres.runner import MOST_ROWS, Runner, Statements
from perdure.store.postgres.url import parse_url
from perdure.store.statements import Column, Many, Procedure, Query, library
from tests.store.databases import fresh_url, opened

ONE, TWO = b"\x01" * 16, b"\x02" * 16


class Told:
    """A connection that notes what is sent over it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.sent: list[str] = []

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        self.sent.append(query)
        return await self._connection.fetch(query, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    url = fresh_url()
    async with opened(url):
        pass
    connection = await connect(parse_url(url), WRITING, name="perdure gathering")
    yield Told(connection)
    connection.terminate()


def runner(told: Told, statements: Statements | None = None, *, one_by_one: bool = False) -> Runner:
    return Runner(told, statements or Statements(library("postgres")), "here", one_by_one=one_by_one)


def _queued(id: bytes, queue: str = "default") -> tuple[Any, ...]:
    return (id, "default", queue, 1)


def _count(table: str) -> Procedure[int]:
    ((found,),) = yield Query(f"SELECT count(*) FROM {table}", {}, (Column("count", "bigint"),))
    return int(found)


def _some_changes() -> Procedure[int]:
    yield Many("queue_put", [_queued(ONE), _queued(TWO)])
    yield Many("timers_put", [(ONE, "wake", 5)])
    yield Many("waiting_clear", [(ONE,)])
    return 7


async def test_changes_of_different_tables_are_one_round_trip(told: Told) -> None:
    own = runner(told)
    assert await own.run(_some_changes()) == 7
    assert len(told.sent) == 1
    assert own.has_written
    assert await own.run(_count("queue")) == 2
    assert await own.run(_count("timers")) == 1


async def test_a_question_is_asked_after_the_changes_before_it(told: Told) -> None:
    def procedure() -> Procedure[list[int]]:
        yield Many("queue_put", [_queued(ONE)])
        yield Many("timers_put", [(ONE, "wake", 5)])
        queued = yield from _count("queue")
        yield Many("inbox_put", [(ONE, "cancel", "{}", 1)])
        waiting = yield Many("inbox_waiting", [(ONE,), (TWO,)])
        return [queued, len(waiting)]

    assert await runner(told).run(procedure()) == [1, 1]


async def test_what_names_a_changed_table_comes_after_it(told: Told) -> None:
    def procedure() -> Procedure[int]:
        yield Many("queue_put", [_queued(ONE), _queued(TWO)])
        yield Many("queue_clear", [(ONE,)])
        yield Many("timers_put", [(ONE, "wake", 5)])
        yield Many("timers_put", [(ONE, "wake", 6)])
        return (yield from _count("queue"))

    assert await runner(told).run(procedure()) == 1
    [(due_at,)] = await told.fetch("SELECT due_at FROM timers")
    assert due_at == 6


async def test_a_question_about_other_tables_does_not_send_them(told: Told) -> None:
    def procedure() -> Procedure[list[Any]]:
        yield Many("queue_put", [_queued(ONE)])
        found = yield Many("workers_alive", [("nobody",)])
        yield Many("timers_put", [(ONE, "wake", 5)])
        return found

    assert await runner(told).run(procedure()) == []
    assert len(told.sent) == 2


async def test_a_refusal_is_told_when_they_are_sent_or_at_once_where_that_is_asked_for(told: Told) -> None:
    heard: list[str] = []

    def procedure() -> Procedure[None]:
        yield Many("queue_put", [_queued(ONE)])
        try:
            yield Many("timers_put", [(ONE, "no such kind", 5)])
        except RowRefused:
            heard.append("at once")
            raise
        heard.append("went on")

    for one_by_one, expected in ((False, "went on"), (True, "at once")):
        heard.clear()
        with pytest.raises(RowRefused):
            await runner(told, one_by_one=one_by_one).run(procedure())
        assert heard == [expected]


async def test_what_was_kept_back_for_a_procedure_that_failed_is_not_sent_with_the_next(told: Told) -> None:
    def failing() -> Procedure[None]:
        yield Many("queue_put", [_queued(ONE)])
        raise RowRefused("decided otherwise")

    own = runner(told)
    with pytest.raises(RowRefused):
        await own.run(failing())
    assert await own.run(_count("queue")) == 0


async def test_many_rows_and_rare_texts_go_alone(told: Told) -> None:
    def procedure() -> Procedure[None]:
        yield Many("queue_put", [_queued(n.to_bytes(16, "big")) for n in range(MOST_ROWS + 1)])
        yield Many("timers_put", [(ONE, "wake", 5)])

    await runner(told).run(procedure())
    assert len(told.sent) == 3
    statements = Statements(library("postgres"))
    names = sorted(name for name, one in statements.traits.items() if one.is_plain)
    for first in names:
        for second in names:
            statements.together((first, second))
    assert statements.together((names[0], names[1])) is not None
    assert statements.together((names[-1], names[-2])) is None
    assert len(names) ** 2 > MOST_TEXTS
    told.sent.clear()
    assert await runner(told, statements).run(_some_changes()) == 7
    assert len(told.sent) == 5


async def test_they_are_carried_out_in_the_order_in_which_they_were_asked_for(told: Told) -> None:
    """So that locks are taken in the order that everybody keeps to."""
    await told.execute("CREATE TEMPORARY TABLE seen (n serial, word text)")
    words = ["one", "two", "three"]
    await told.fetch(together([(word, "INSERT INTO seen (word) SELECT $1::text", 1) for word in words]), *words)
    assert [row[0] for row in await told.fetch("SELECT word FROM seen ORDER BY n")] == words


async def test_what_triggers_write_is_known(told: Told) -> None:
    rows = await told.fetch(
        "SELECT c.relname, p.prosrc FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid "
        "JOIN pg_proc AS p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
    )
    written: dict[str, set[str]] = {}
    for table, source in rows:
        found = re.findall(r"\b(?:INSERT INTO|DELETE FROM|UPDATE)\s+(\w+)", source)
        written.setdefault(table, set()).update(found)
    assert written == {table: set(others) for table, others in TRIGGERED.items()}


def test_only_changes_without_an_answer_are_kept_back() -> None:
    statements = library("postgres").statements
    traits = Statements(library("postgres")).traits
    assert not any(one.is_plain and (statements[name].returns or not one.written) for name, one in traits.items())
    plain = {name for name, one in traits.items() if one.is_plain}
    assert {"executions_move", "node_runs_put", "payloads_end", "events_put", "feed_put", "waiting_clear"} <= plain
    # They lock before they change, answer, or drop from several tables at once.
    assert plain.isdisjoint({"workers_stop", "executions_put", "executions_erase"})
    assert plain.isdisjoint(one for table in plain for one in traits[table].written)
