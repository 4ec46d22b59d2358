"""Texts that every store can hold."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from perdure.base.texts import END, NO_NUL, cut, recordable

texts = st.text(st.characters(exclude_categories=()))


@given(texts)
def test_what_is_recordable_is_unicode_of_the_same_length(text: str) -> None:
    found = recordable(text)
    found.encode()
    assert len(found) == len(text)
    assert recordable(found) == found


@given(texts)
def test_a_text_without_nul_is_known_by_its_pattern(text: str) -> None:
    assert (re.search(NO_NUL, text) is not None) == ("\0" not in text)


def test_a_pattern_ends_where_the_text_does() -> None:
    assert re.search("^a" + END, "a")
    assert not re.search("^a" + END, "a\n")


@given(texts, st.integers(min_value=1, max_value=20))
def test_a_cut_text_says_so(text: str, limit: int) -> None:
    found = cut(text, limit)
    assert len(found) <= limit
    assert found == text or found.endswith("…")
