"""Trigrams and the rows they are kept in, against the plainest way to find them."""

import string

from hypothesis import given
from hypothesis import strategies as st

from perdure.store.search.grams import trigrams_in, trigrams_of
from perdure.store.search.segment import SegmentBuilder, entries, groups_with, merged, part_of

TEXTS = st.lists(st.text(st.characters(codec=None) | st.sampled_from("aab")), max_size=5)
WORDS = st.lists(st.lists(st.text(string.ascii_lowercase[:3], min_size=1, max_size=8), max_size=3), max_size=4)


def plainly(data: bytes) -> set[int]:
    return {int.from_bytes(data[at : at + 3], "little") for at in range(len(data) - 2)}


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@given(TEXTS)
def test_every_trigram_of_every_text_is_found_and_none_that_stands_nowhere(texts: list[str]) -> None:
    found = trigrams_in(texts)
    assert all(plainly(encoded(text)) <= found for text in texts)
    assert all(set(trigrams_of(text)) <= found for text in texts)
    once = b"\x00".join(encoded(text) for text in dict.fromkeys(texts))
    assert found == plainly(once)


def segment(groups: list[list[str]], begun: SegmentBuilder | None = None) -> SegmentBuilder:
    builder = begun or SegmentBuilder()
    for texts in groups:
        for text in texts:
            builder.add([text])
        builder.end_group()
    return builder


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_a_row_of_a_volume_tells_what_the_rows_of_its_segments_tell(segments: list[list[list[str]]]) -> None:
    rows = [dict(segment(groups).parts()) for groups in segments]
    grams = {gram for groups in segments for texts in groups for text in texts for gram in trigrams_of(text)}
    for gram in grams | {0, 0xFFFFFF}:
        part = part_of(gram)
        expected = {
            place: sum(1 << at for at, texts in enumerate(groups) if any(gram in trigrams_of(text) for text in texts))
            for place, groups in enumerate(segments)
        }
        parts = {place: found[part] for place, found in enumerate(rows) if part in found}
        found = groups_with(gram, merged(parts)) if parts else {}
        assert found == {place: groups for place, groups in expected.items() if groups}


@given(WORDS, WORDS)
def test_a_segment_that_grows_is_as_one_that_was_made_at_once(first: list[list[str]], rest: list[list[str]]) -> None:
    grown = SegmentBuilder(dict(segment(first).parts()).values(), len(first))
    assert list(segment(rest, grown).parts()) == list(segment([*first, *rest]).parts())


def test_entries_stand_in_the_order_in_which_they_are_looked_for() -> None:
    rows = dict(segment([["the quick brown fox jumps over the lazy dog"]]).parts())
    for part, row in rows.items():
        grams = [gram for gram, _, _ in entries(row)]
        assert grams == sorted(grams)
        assert {part_of(gram) for gram in grams} == {part}
