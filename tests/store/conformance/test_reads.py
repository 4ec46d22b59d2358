"""Lists, counts and statistics agree with what was written, in every workspace for itself."""

import math
import random
from typing import Any

import pytest

from perdure.base.clock import DAY, HOUR, SECOND
from perdure.errors import InvalidRequest
from perdure.model.event import Event
from perdure.model.states import ExecutionStatus, NodeStatus
from perdure.store.commands import FoldCounters, TrimFeed
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.matching import matches as in_words
from perdure.store.reads import executions as reading
from perdure.store.reads import listing
from perdure.store.records import ExecutionRecord
from tests.store.world import BEGIN, WORKSPACE, World, value

STATUSES = [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.RUNNING, ExecutionStatus.QUEUED]
FILTERS: list[dict[str, Any]] = [
    {},
    {"statuses": (ExecutionStatus.FAILED,)},
    {"statuses": (ExecutionStatus.FAILED, ExecutionStatus.RUNNING)},
    {"statuses": (ExecutionStatus.ABANDONED,)},
    {"flow": "a/x"},
    {"flow": "a/x", "statuses": (ExecutionStatus.COMPLETED, ExecutionStatus.QUEUED)},
    {"flow": "nobody/knows"},
    {"namespace": "a"},
    {"namespace": "b", "statuses": (ExecutionStatus.RUNNING,)},
    {"trigger_kind": "schedule"},
    {"trigger_kind": "schedule", "namespace": "a"},
    {"trigger_kind": "api", "flow": "b/x", "statuses": (ExecutionStatus.FAILED,)},
    {"tags": (("color", "red"),)},
    {"tags": (("color", "red"), ("size", None))},
    {"tags": (("size", None),)},
    {"tags": (("color", "blue"), ("size", "big")), "statuses": (ExecutionStatus.COMPLETED,), "namespace": "a"},
    {"created_after": BEGIN + 3 * HOUR},
    {"created_before": BEGIN + 5 * HOUR},
    {"created_after": BEGIN + HOUR + 17, "created_before": BEGIN + 40 * HOUR, "statuses": (ExecutionStatus.COMPLETED,)},
    {"created_after": BEGIN + HOUR, "created_before": BEGIN + HOUR + 20 * SECOND},
    {"created_after": BEGIN + 2 * DAY, "created_before": BEGIN + DAY},
    {"tags": (("color", "red"),), "created_after": BEGIN + 9 * HOUR, "flow": "a/y"},
    {"trigger_kind": "schedule", "trigger_id": "nightly"},
    {"trigger_kind": "schedule", "trigger_id": "nightly", "statuses": (ExecutionStatus.FAILED,)},
    {"trigger_kind": "api", "trigger_id": "nightly"},
    {"worker": "w1"},
    {"worker": "w1", "flow": "a/x", "tags": (("color", "red"),)},
    {"worker": "nobody"},
    {"started_after": BEGIN + 30 * HOUR},
    {"started_before": BEGIN + 30 * HOUR, "flow": "a/x"},
    {"started_after": BEGIN + 8 * HOUR, "started_before": BEGIN + 40 * HOUR, "statuses": (ExecutionStatus.FAILED,)},
    {"finished_after": BEGIN + 30 * HOUR},
    {"finished_before": BEGIN + 30 * HOUR},
    {"finished_after": BEGIN + 8 * HOUR, "finished_before": BEGIN + 9 * HOUR},
    {"finished_after": BEGIN + 50 * HOUR, "trigger_kind": "schedule", "tags": (("size", None),)},
    {"min_duration": 10 * SECOND},
    {"max_duration": 10 * SECOND},
    {"min_duration": 5 * SECOND, "max_duration": HOUR, "namespace": "a"},
    {"min_duration": 2 * DAY},
    {"min_duration": HOUR, "statuses": (ExecutionStatus.RUNNING,), "created_before": BEGIN + 60 * HOUR},
]


def populate(world: World, count: int = 240) -> list[bytes]:
    """Executions over three days, with clocks that disagree with the ids; returns the ids in this workspace."""
    dice = random.Random(7)
    ids = []
    for _ in range(count):
        world.later(dice.randrange(2 * 3 * DAY // count))
        flow = dice.choice(["a/x", "a/y", "b/x"])
        tags = {"color": dice.choice(["red", "blue"])} | ({"size": "big"} if dice.random() < 0.3 else {})
        status = dice.choice(STATUSES)
        started = world.start(
            flow=flow,
            tags=tags,
            trigger_kind=(kind := dice.choice(["api", "api", "schedule"])),
            trigger_id=dice.choice(["nightly", "hourly"]) if kind == "schedule" else None,
            created_at=world.now + dice.randrange(-30, 30) * SECOND,
            claim_by=None if status is ExecutionStatus.QUEUED else "w1",
        )
        if status not in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING):
            if dice.random() < 0.5:
                world.later(10 ** dice.randrange(1, 9))
            world.end(started, status)
        ids.append(started.id)
        world.start(workspace="other", flow=flow, tags=tags)
        if dice.random() < 0.01:
            world.do(FoldCounters(at=world.now, limit=50))
    return ids


def matches(record: ExecutionRecord, wanted: dict[str, Any]) -> bool:
    return (
        record.status in wanted.get("statuses", STATUSES)
        and record.flow == wanted.get("flow", record.flow)
        and record.namespace == wanted.get("namespace", record.namespace)
        and record.trigger_kind == wanted.get("trigger_kind", record.trigger_kind)
        and all(key in record.tags and part in (None, record.tags[key]) for key, part in wanted.get("tags", ()))
        and wanted.get("created_after", 0) <= record.created_at < wanted.get("created_before", 1 << 62)
        and all(getattr(record, name) == wanted.get(name, getattr(record, name)) for name in ("trigger_id", "worker"))
        and all(within(getattr(record, f"{name}_at"), name, wanted) for name in ("started", "finished"))
        and took(record, wanted)
    )


def within(at: int | None, name: str, wanted: dict[str, Any]) -> bool:
    if not {f"{name}_after", f"{name}_before"} & wanted.keys():
        return True
    return at is not None and wanted.get(f"{name}_after", 0) <= at < wanted.get(f"{name}_before", 1 << 62)


def took(record: ExecutionRecord, wanted: dict[str, Any]) -> bool:
    if not {"min_duration", "max_duration"} & wanted.keys():
        return True
    if record.started_at is None:
        return False
    duration = max((record.finished_at or wanted["now"]) - record.started_at, 0)
    return bool(wanted.get("min_duration", 0) <= duration <= wanted.get("max_duration", 1 << 62))


async def test_every_filter_lists_and_counts_what_it_says(world: World) -> None:
    ids = populate(world)
    records = [await world.get(id) for id in ids]
    executions = world.store.executions
    for conditions in FILTERS:
        wanted = {**conditions, "now": world.now}
        filter = ExecutionFilter(**wanted)
        expected = sorted((record for record in records if matches(record, wanted)), key=lambda one: one.id)
        newest_first = [record.id for record in reversed(expected)]
        assert [record for record in records if in_words(record, filter)] == sorted(expected, key=records.index), wanted
        found = await executions.list(WORKSPACE, filter, Page(limit=1000))
        assert [record.id for record in found] == newest_first, wanted
        oldest_first = await executions.list(WORKSPACE, filter, Page(limit=1000, newest_first=False))
        assert [record.id for record in oldest_first] == newest_first[::-1], wanted
        assert await executions.count(WORKSPACE, filter) == len(expected), wanted
        assert await executions.count(WORKSPACE, filter, 5) == min(len(expected), 5), wanted
        for names in (["status"], ["namespace", "status"], ["flow", "trigger"], ["hour"], ["day", "status"], []):
            rows, _ = await executions.statistics(WORKSPACE, filter, names)
            assert rows == grouped(expected, names), (wanted, names)


async def test_percentiles_of_durations_are_within_two_percent(world: World) -> None:
    ids = populate(world)
    world.do(FoldCounters(at=world.now, limit=100))
    records = [await world.get(id) for id in ids]
    asked: list[tuple[dict[str, Any], list[str]]] = [
        ({}, []),
        ({}, ["status"]),
        ({}, ["hour"]),
        ({}, ["flow", "day"]),
        ({}, ["flow", "status"]),
        ({"namespace": "a"}, []),
        ({"flow": "a/x"}, ["day"]),
        ({"created_after": BEGIN // HOUR * HOUR + 30 * HOUR}, []),
        ({"flow": "a/x"}, ["trigger"]),
        ({"namespace": "a"}, ["day"]),
        ({"trigger_kind": "schedule"}, ["namespace"]),
        ({"statuses": (ExecutionStatus.FAILED,)}, ["hour"]),
        ({"created_after": BEGIN // DAY * DAY + DAY, "flow": "a/y"}, ["status"]),
        ({"created_before": BEGIN // HOUR * HOUR + 30 * HOUR}, ["trigger"]),
    ]
    for _ in range(2):
        for wanted, names in asked:
            filter = ExecutionFilter(**wanted)
            rows, is_exact = await world.store.executions.statistics(
                WORKSPACE, filter, names, durations=True, exact=True
            )
            assert is_exact
            fitting = [record for record in records if matches(record, wanted)]
            assert [{**row, "duration_us": None} for row in rows] == [
                {**row, "duration_us": None} for row in grouped(fitting, names)
            ]
            for row in rows:
                members = [
                    record for record in fitting if grouped([record], names)[0].items() - {("count", 1)} <= row.items()
                ]
                assert_close(row["duration_us"], [took_us(one) for one in members if one.finished_at is not None])
        while world.do(FoldCounters(at=world.now, limit=1_000)):
            pass


def took_us(record: ExecutionRecord) -> int:
    assert record.started_at is not None
    assert record.finished_at is not None
    return max(record.finished_at - record.started_at, 0)


def assert_close(found: list[float] | None, durations: list[int]) -> None:
    if not durations:
        assert found is None
        return
    assert found is not None
    ordered = sorted(durations)
    for share, one in zip((0.5, 0.95, 0.99), found, strict=True):
        true = ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
        assert abs(one - true) <= 0.02 * true


async def test_what_need_not_be_exact_is_counted_among_the_newest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(world, 100)
    red = ExecutionFilter(tags=(("color", "red"),))
    count = world.store.executions.statistics
    whole = await count(WORKSPACE, red, ["status"], durations=True, exact=True)
    assert await count(WORKSPACE, red, ["status"], durations=True, exact=False) == whole
    assert {row["duration_us"] for row in whole.rows} == {None}
    monkeypatch.setattr(reading, "LOOKED_AT", 10)
    rows, is_exact = await count(WORKSPACE, red, ["status"], durations=False, exact=False)
    assert not is_exact
    assert sum(row["count"] for row in rows) == 10


def grouped(records: list[ExecutionRecord], names: list[str]) -> list[dict[str, Any]]:
    counts: dict[tuple[Any, ...], int] = {}
    for record in records:
        values = {
            "status": str(record.status),
            "namespace": record.namespace,
            "flow": record.flow,
            "trigger": record.trigger_kind,
            "hour": record.created_at // HOUR * HOUR,
            "day": record.created_at // DAY * DAY,
        }
        key = tuple(values[name] for name in names)
        counts[key] = counts.get(key, 0) + 1
    return [{**dict(zip(names, key, strict=True)), "count": count} for key, count in sorted(counts.items())]


@pytest.mark.parametrize(
    "wanted", [{}, {"statuses": tuple(STATUSES)}, {"tags": (("color", "red"),)}, {"namespace": "a"}]
)
async def test_pages_follow_each_other_without_gap_or_double(world: World, wanted: dict[str, Any]) -> None:
    populate(world, 60)
    filter = ExecutionFilter(**wanted)
    executions = world.store.executions
    for newest_first in (True, False):
        everything = await executions.list(WORKSPACE, filter, Page(limit=1000, newest_first=newest_first))
        walked: list[ExecutionRecord] = []
        while page := await executions.list(
            WORKSPACE, filter, Page(limit=7, after=walked[-1].id if walked else None, newest_first=newest_first)
        ):
            walked += page
        assert walked == everything
        skipped = await executions.list(WORKSPACE, filter, Page(limit=5, offset=11, newest_first=newest_first))
        assert skipped == everything[11:16]


@pytest.mark.parametrize(
    "wanted",
    [
        {"tags": (("color", "red"),), "flow": "a/x"},
        {"started_after": BEGIN, "statuses": (ExecutionStatus.FAILED,)},
        {"max_duration": 1, "namespace": "a"},
        {"flow": "a/x", "trigger_kind": "schedule"},
    ],
)
async def test_a_page_that_took_too_long_is_short_and_says_where_to_go_on(
    world: World, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(world, 120)
    filter = ExecutionFilter(**wanted, now=world.now)
    executions = world.store.executions
    for newest_first in (True, False):
        everything = await executions.list(WORKSPACE, filter, Page(limit=1000, newest_first=newest_first))
        assert everything
        with monkeypatch.context() as impatient:
            impatient.setattr(listing, "PATIENCE_S", -1.0)
            impatient.setattr(listing, "FIRST_SPAN", 7)
            walked: list[ExecutionRecord] = []
            page, sizes = Page(limit=5, newest_first=newest_first), []
            while True:
                records, rest_after = await executions.page(WORKSPACE, filter, page)
                walked += records
                sizes.append(len(records))
                if rest_after is None:
                    break
                page = Page(limit=5, newest_first=newest_first, after=rest_after)
            assert walked == everything
            assert min(sizes) < 5
            few = Page(limit=len(everything) - 1, newest_first=newest_first)
            assert await executions.list(WORKSPACE, filter, few) == everything[:-1]
            skipped = Page(limit=5, offset=len(everything) - 1, newest_first=newest_first)
            if len(everything) > 7:
                with pytest.raises(InvalidRequest, match="cursor"):
                    await executions.page(WORKSPACE, filter, skipped)
        assert (await executions.page(WORKSPACE, filter, skipped)).records == everything[-1:]


async def test_what_ended_before_the_time_in_its_id_is_found(world: World) -> None:
    """Clocks may be set back between the two."""
    at = world.now
    world.later(20 * SECOND)
    id = world.id()
    world.now = at
    world.end(world.started(id=id))
    for filter in (
        ExecutionFilter(created_before=at + SECOND),
        ExecutionFilter(started_before=at + SECOND),
        ExecutionFilter(finished_before=at + SECOND),
    ):
        assert [one.id for one in await world.store.executions.list(WORKSPACE, filter, Page())] == [id], filter


async def test_several_come_in_the_order_in_which_they_are_asked_for(world: World) -> None:
    ids = [world.started().id for _ in range(4)]
    foreign = world.started(workspace="other").id
    asked = [ids[2], world.id(), foreign, ids[0], ids[3]]
    found = await world.store.executions.several(WORKSPACE, asked)
    assert [record.id for record in found] == [ids[2], ids[0], ids[3]]
    assert await world.store.executions.several(WORKSPACE, []) == []


async def test_families_and_replays(world: World) -> None:
    root = await world.get(world.started().id)
    children = [world.new(of=root, parent_ordinal=n) for n in range(3)]
    world.start(*children)
    grandchild = world.new(of=await world.get(children[0].id))
    replay = world.new(replay_of=root.id)
    world.start(grandchild, replay)
    executions = world.store.executions

    async def ids(**conditions: Any) -> set[bytes]:
        count = await executions.count(WORKSPACE, ExecutionFilter(**conditions))
        found = {record.id for record in await world.all(**conditions)}
        assert len(found) == count
        return found

    assert await ids(parent=root.id) == {child.id for child in children}
    assert await ids(root=root.id) == {root.id, grandchild.id, *(child.id for child in children)}
    assert await ids(replay_of=root.id) == {replay.id}
    assert await ids(root=root.id, statuses=(ExecutionStatus.RUNNING,)) == {root.id}
    assert await executions.children("other", root.id) == []
    assert await executions.list("other", ExecutionFilter(root=root.id), Page()) == []


async def test_one_workspace_sees_nothing_of_another(world: World) -> None:
    foreign = world.started(workspace="other", tags={"a": "b"})
    world.write(
        advances=(world.advancing(foreign, ExecutionStatus.RUNNING, workspace="other", node_runs=[world.node_run()]),)
    )
    store = world.store
    assert await store.executions.get(WORKSPACE, foreign.id) is None
    assert await store.executions.by_number(WORKSPACE, foreign.number) is None
    assert await store.executions.payload(WORKSPACE, foreign.id) is None
    assert await store.executions.payloads(WORKSPACE, [foreign.id]) == {}
    assert await store.node_runs.list(WORKSPACE, foreign.id) == []
    assert await store.node_runs.get(WORKSPACE, foreign.id, "n", 0) is None
    assert await store.node_runs.summary(WORKSPACE, foreign.id) == []
    assert await store.waits.of(WORKSPACE, foreign.id) == []
    assert await store.events.page(WORKSPACE, foreign.id, 0, 10) == []
    assert [chunks for _, _, chunks in await store.events.feed(WORKSPACE, {}, 10)] == [[]]
    assert await store.executions.list(WORKSPACE, ExecutionFilter(tags=(("a", "b"),)), Page()) == []
    assert await store.executions.count(WORKSPACE, ExecutionFilter()) == 0
    assert await store.executions.by_number("other", foreign.number) == await store.executions.get("other", foreign.id)


async def test_groups_are_from_a_list(world: World) -> None:
    with pytest.raises(InvalidRequest):
        await world.store.executions.statistics(WORKSPACE, ExecutionFilter(), ["status; DROP TABLE executions"])


async def test_the_unfinished_one_with_the_same_input_is_found(world: World) -> None:
    like = world.store.executions.unfinished_like
    first, second = world.started(input=value("1")), world.start(input=value("1"))
    world.start(input=value("2"))
    world.start(input=value("1"), flow_version=2)
    found = await like(WORKSPACE, "tests/flow", 1, "1")
    assert found is not None
    assert found.id == second.id
    world.cancel(second.id)
    found = await like(WORKSPACE, "tests/flow", 1, "1")
    assert found is not None
    assert found.id == first.id
    world.end(first)
    assert await like(WORKSPACE, "tests/flow", 1, "1") is None


async def test_events_are_paged_by_number(world: World) -> None:
    started = world.started()
    for n in range(10):
        kind = "log" if n % 3 == 0 else "progress"
        events = [Event(kind, world.now, data={"n": n, "m": m}) for m in range(4)]
        world.advance(started, ExecutionStatus.RUNNING, events=events)
    everything = await world.events(started.id)
    assert len(everything) == 42
    for after in range(43):
        chunks = await world.store.events.page(WORKSPACE, started.id, after, 5)
        events = [event for chunk in chunks for event in chunk.events]
        assert events == everything[after : after + len(events)]
        assert len(events) >= min(5, 42 - after)
        assert len(events) <= 5 + 3
    logs = await world.store.events.page(WORKSPACE, started.id, 0, 100, logs_only=True)
    assert [chunk.first_seq for chunk in logs] == [3, 15, 27, 39]


async def test_the_feed_has_every_commit_in_order(world: World) -> None:
    mine = [world.started() for _ in range(3)]
    world.start(workspace="other")
    world.write(advances=tuple(world.advancing(one, ExecutionStatus.COMPLETED) for one in mine))
    feed = await world.store.events.feed(WORKSPACE, {}, 100)
    (writer,) = {writer for writer, _, _ in feed}
    assert [n for _, n, _ in feed] == [1, 2, 3, 4, 5]
    assert [len(chunks) for _, _, chunks in feed] == [1, 1, 1, 0, 3]
    assert {chunk.execution_id for chunk in feed[4][2]} == {one.id for one in mine}
    assert [chunk.first_seq for chunk in feed[4][2]] == [3, 3, 3]
    assert await world.store.events.feed_end() == {writer: 5}
    assert [n for _, n, _ in await world.store.events.feed(WORKSPACE, {writer: 2}, 2)] == [3, 4]
    assert await world.store.events.feed(WORKSPACE, {writer: 5}, 2) == []
    assert world.do(TrimFeed(at=world.now, before=world.now + 1, limit=3)) == 3
    assert world.do(TrimFeed(at=world.now, before=world.now + 1, limit=3)) == 1
    assert await world.store.events.feed_end() == {writer: 5}


async def test_node_runs_are_paged_and_summed_up(world: World) -> None:
    started = world.started()
    runs = [
        world.node_run(node, NodeStatus.COMPLETED if ordinal % 2 else NodeStatus.FAILED, ordinal=ordinal, attempt=2)
        for node in ("a", "b")
        for ordinal in range(11)
    ]
    for run in runs:
        run.finished_at = world.now + 10
    world.advance(started, ExecutionStatus.RUNNING, node_runs=runs)
    listed = await world.store.node_runs.list(WORKSPACE, started.id)
    assert listed == runs
    failed = await world.store.node_runs.in_status(WORKSPACE, started.id, NodeStatus.FAILED, limit=7)
    assert failed == [run for run in runs if run.status is NodeStatus.FAILED][:7]
    assert await world.store.node_runs.in_status("elsewhere", started.id, NodeStatus.FAILED, limit=7) == []
    walked = []
    after = None
    while page := await world.store.node_runs.list(WORKSPACE, started.id, limit=4, after=after):
        walked += page
        after = (page[-1].node, page[-1].ordinal, page[-1].label)
    assert walked == runs
    of_b = await world.store.node_runs.list(WORKSPACE, started.id, node="b", limit=3, after=("b", 4, ""))
    assert [(run.node, run.ordinal) for run in of_b] == [("b", 5), ("b", 6), ("b", 7)]
    first = (await world.store.node_runs.summary(WORKSPACE, started.id))[0]
    assert first == {
        "node": "a",
        "type": "python",
        "runs": 11,
        "by_status": {"completed": 5, "failed": 6},
        "attempts": 22,
        "duration_us_sum": 110,
        "started_at": world.now,
        "finished_at": world.now + 10,
    }


async def test_the_store_tells_of_itself(world: World) -> None:
    await world.store.ping()
    info = await world.store.info()
    assert info["schema_version"] >= 1
    assert info["size_bytes"] > 0


async def test_commits_are_read_of_named_writers_and_their_events_of_chosen_executions(world: World) -> None:
    one, two = world.started(), world.started()
    assert world.last is not None
    assert world.last.feed is not None
    writer, n = world.last.feed
    world.end(one)
    world.end(two)
    events = world.store.events
    assert await events.commits({writer + 1_000: 0}, 10) == []
    commits = await events.commits({writer: n}, 10)
    assert [(who, number) for who, number, _ in commits] == [(writer, n + 1), (writer, n + 2)]
    assert [n for _, n, _ in await events.commits({writer: n}, 1)] == [n + 1]
    # Bounded by what their entries take: the next one however long it is, and all where there is room.
    assert await events.commits({writer: n}, 10, max_bytes=1) == commits[:1]
    assert await events.commits({writer: n, writer + 1_000: 0}, 10, max_bytes=10_000) == commits
    entries = [entry for _, _, entries in commits for entry in entries]
    assert [(entry.execution_id, entry.workspace) for entry in entries] == [(one.id, WORKSPACE), (two.id, WORKSPACE)]
    wanted = [entry for entry in entries if entry.execution_id == two.id]
    (chunk,) = await events.chunks(wanted)
    assert (chunk.execution_id, chunk.first_seq, chunk.last_seq) == (two.id, wanted[0].first_seq, wanted[0].last_seq)
    assert await events.chunks([]) == []
