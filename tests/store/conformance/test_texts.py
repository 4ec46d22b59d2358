"""Executions are found by what stands in their input, output and error, wherever the index of texts is just then."""

import random
import string
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from perdure.artifacts.local import LocalStorage
from perdure.base.clock import SystemClock
from perdure.base.ids import LAST_ID
from perdure.engine.loops.indexer import Indexer
from perdure.engine.pace import Pace
from perdure.engine.searching import Found, Searcher, TextFilter
from perdure.engine.text_heads import TextHeads
from perdure.model.states import ExecutionStatus
from perdure.store.commands import TrimFeed
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.records import Value
from perdure.store.search.segment import GROUP, LAST_PART, SEGMENT
from tests.store.world import WORKSPACE, World, value

ALL = ExecutionFilter()


class Library:
    """A store with an indexer and a searcher, and no engine around them."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.storage = LocalStorage(folder / "artifacts")
        clock, heads = SystemClock(), TextHeads(world.store.heads, self.storage)
        self.indexer = Indexer(
            store=world.store, batches=count().__next__, clock=clock, heads=heads, pace=Pace(Random(1))
        )
        self.searcher = Searcher(store=world.store, heads=heads, clock=clock)

    def start(self, text: str, **fields: Any) -> bytes:
        id: bytes = self.world.start(input=value(f'{{"text":"{text}"}}'), **fields).id
        return id

    async def index(self) -> None:
        """Until it has caught up."""
        while await self.indexer.work() < 1:
            pass

    async def page(self, needle: str, page: Page | None = None, filter: ExecutionFilter = ALL) -> Found:
        return await self.searcher.page(WORKSPACE, filter, TextFilter(anywhere=needle), page or Page())

    async def find(self, needle: str, **fields: object) -> list[bytes]:
        return [record.id for record in (await self.page(needle, **fields)).records]  # type: ignore[arg-type]


@pytest.fixture
def library(world: World, tmp_path: Path) -> Library:
    return Library(world, tmp_path)


def fill(library: Library, number: int) -> list[bytes]:
    """So many executions, in batches; the text of each says its number."""
    ids: list[bytes] = []
    for first in range(0, number, 500):
        news = [
            library.world.new(input=value(f'{{"text":"number <{n}> of the Many"}}'))
            for n in range(first, min(first + 500, number))
        ]
        library.world.start(*news)
        ids += [new.id for new in news]
    return ids


async def test_what_is_found_does_not_depend_on_the_index(library: Library) -> None:
    ids = fill(library, SEGMENT + 700)

    async def check() -> None:
        assert await library.find("<17>") == [ids[17]]
        assert await library.find(f"NUMBER <{SEGMENT + 400}>") == [ids[SEGMENT + 400]]
        assert await library.find("nowhere") == []
        assert await library.find("the many") == ids[::-1][:100]
        assert await library.find("the many", page=Page(newest_first=False)) == ids[:100]

    await check()
    assert (await library.searcher.describe())["status"] == "none"
    await library.index()
    await check()
    assert await library.searcher.describe() == {"status": "current", "lag_s": 0.0, "waiting": 700 % GROUP}
    late = library.start("number <last>")
    assert await library.find("<last>") == [late]
    await library.index()
    assert await library.find("<last>") == [late]


async def test_pages_go_through_volumes_segments_tail_and_fresh_commits(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.engine.segments.VOLUME", 2)
    ids = fill(library, 2 * SEGMENT + 300)
    await library.index()
    assert await library.world.store.texts.full_segments(WORKSPACE, 1) == [], "they are in a volume"
    ids += fill(library, 20)
    wanted = [id for n, id in enumerate(ids) if "7>" in f"<{n if n < 2 * SEGMENT + 300 else n - 2 * SEGMENT - 300}>"]
    for newest_first in (True, False):
        found: list[bytes] = []
        page = Page(limit=37, newest_first=newest_first)
        while True:
            records, rest_after, _ = await library.page("7> of", page)
            found += [record.id for record in records]
            if rest_after is None:
                break
            page = Page(limit=37, newest_first=newest_first, after=rest_after)
        assert found == (wanted[::-1] if newest_first else wanted)


async def test_outputs_and_errors_are_found_when_they_come_after_the_input_was_indexed(library: Library) -> None:
    first = library.world.started(input=value('{"a":"early words"}'))
    fill(library, SEGMENT)
    await library.index()
    assert (await library.searcher.describe())["waiting"] == 1
    assert await library.find("early words") == [first.id]
    library.world.advance(first, ExecutionStatus.COMPLETED, output=value('{"b":"Late Words"}'))
    assert await library.find("late words") == [first.id]
    await library.index()
    fill(library, SEGMENT)
    await library.index()
    assert await library.find("late words") == [first.id]
    assert await library.find("early words") == [first.id]
    both = TextFilter(input="early", output="late")
    assert [one.id for one in (await library.searcher.page(WORKSPACE, ALL, both, Page())).records] == [first.id]
    wrong = TextFilter(input="late")
    assert (await library.searcher.page(WORKSPACE, ALL, wrong, Page())).records == []


async def test_other_conditions_hold_as_well(library: Library) -> None:
    other = library.start("a shared word", flow="tests/other", tags={"k": "v"})
    ids = [library.start("a shared word") for _ in range(5)]
    library.world.start(workspace="elsewhere", input=value('{"text":"a shared word"}'))
    for _ in range(2):
        assert await library.find("shared word") == [*ids[::-1], other]
        assert await library.find("shared word", filter=ExecutionFilter(flow="tests/other")) == [other]
        assert await library.find("shared word", filter=ExecutionFilter(tags=(("k", "v"),))) == [other]
        assert await library.find("shared word", filter=ExecutionFilter(statuses=(ExecutionStatus.FAILED,))) == []
        fill(library, SEGMENT)
        await library.index()


@pytest.mark.parametrize("needle", ['say "hi"', "C:\\temp", "STRASSE", "日本語", "ünï", "\U0001f600!"])
async def test_texts_are_found_as_people_write_them(library: Library, needle: str) -> None:
    id = library.start('He said: say \\"hi\\" in C:\\\\temp, Straße, 日本語, ÜNÏ, \U0001f600!')
    fill(library, SEGMENT)
    assert await library.find(needle) == [id]
    await library.index()
    assert await library.find(needle) == [id]


async def test_the_beginning_of_a_large_value_is_found(library: Library) -> None:
    stored = await library.storage.put_bytes(b'"find me ' + b"x" * 100_000 + b' not me"')
    id = library.world.start(input=Value(None, stored.sha256, 100_010)).id
    fill(library, SEGMENT)
    for _ in range(2):
        assert await library.find("find me") == [id]
        assert await library.find("not me") == []
        await library.index()


async def test_a_feed_that_was_trimmed_too_far_makes_the_index_anew(library: Library) -> None:
    await library.index()
    ids = fill(library, 1_200)
    library.world.do(TrimFeed(at=library.world.now, before=library.world.now + 1, limit=2))
    assert await library.find("<3>") == []
    await library.index()
    assert await library.find("<3>") == [ids[3]]


async def test_random_texts_are_found_as_a_plain_scan_finds_them(library: Library) -> None:
    dice = random.Random(3)
    texts: dict[bytes, str] = {}

    def batch(size: int) -> None:
        news = []
        for _ in range(size):
            text = "".join(dice.choices(string.ascii_lowercase[:6], k=dice.randrange(3, 30)))
            news.append(library.world.new(input=value(f'"{text}"')))
            texts[news[-1].id] = text
        library.world.start(*news)

    for _ in range(9):
        batch(300)
    await library.index()
    batch(50)
    for _ in range(60):
        needle = "".join(dice.choices(string.ascii_lowercase[:6], k=dice.randrange(3, 8)))
        assert await library.find(needle, page=Page(limit=5_000)) == in_order(texts, needle)


def in_order(texts: dict[bytes, str], needle: str) -> Sequence[bytes]:
    return sorted((id for id, text in texts.items() if needle in text), reverse=True)


async def test_what_waits_for_a_segment_stays_little_however_much_there_is_to_follow(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.engine.loops.indexer.ENTRIES_BYTES", 1)
    await library.index()
    fill(library, 2 * SEGMENT)
    most = 0
    while await library.indexer.work() < 1:
        most = max(most, *(await library.world.store.texts.tails()).values(), 0)
    assert SEGMENT <= most < SEGMENT + 500, "a commit of 500 at a time"
    assert len(await library.find(f"<{2 * SEGMENT - 1}>")) == 1


async def test_a_search_that_began_before_a_segment_grew_finds_what_was_there_once(library: Library) -> None:
    texts = library.world.store.texts
    ids = fill(library, 300)
    await library.index()
    before = await texts.snapshot(WORKSPACE)
    later = fill(library, 300)
    await library.index()
    after = await texts.snapshot(WORKSPACE)
    assert [one.number for one in after.segments] == [one.number for one in before.segments]
    assert before.state is not None
    generation = before.state.generation
    assert sorted(await texts.candidates(["the many"], before.segments, generation)) == ids[: 300 // GROUP * GROUP]
    found = set(await texts.candidates(["the many"], after.segments, generation))
    assert found | set(after.tail) == {*ids, *later}


async def test_a_rare_flow_with_a_frequent_text_is_looked_through_itself(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all executions that hold the text are: with no patience, those would be 256 of the newest."""
    monkeypatch.setattr("perdure.engine.searching.FEW", 10)
    monkeypatch.setattr("perdure.engine.searching.PATIENCE", 0)
    rare = ExecutionFilter(flow="tests/other")
    ids = [library.start("of the Many", flow="tests/other") for _ in range(20)]
    fill(library, SEGMENT)
    await library.index()
    assert await library.find("the many", filter=rare) == ids[::-1]
    assert await library.find("nowhere", filter=rare) == []
    assert await library.find("<17>", filter=rare) == []


async def test_a_volume_goes_with_the_last_of_its_segments(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.engine.segments.VOLUME", 2)
    texts = library.world.store.texts
    ids = fill(library, 2 * SEGMENT)
    await library.index()
    segments = [one.number for one in (await texts.snapshot(WORKSPACE)).segments]
    volume = -segments[0]
    assert await texts.parts(segments, 0, LAST_PART) == []
    assert len(await texts.parts([volume], 0, LAST_PART)) > 1
    assert await texts.forget(ids[SEGMENT], 10, 1) == 1
    assert await library.find("<4095>") == [ids[4095]]
    assert await texts.forget(LAST_ID, 10, 1) == 1
    assert await texts.parts([volume], 0, LAST_PART) == []
