"""What is told of a word that is none of those there are."""

from __future__ import annotations

from perdure.base.nearest import LISTED, choices, nearest, nearest_or_all

MANY = [f"word{number}" for number in range(LISTED + 1)]


def test_the_nearest_word_is_offered_and_a_far_one_is_not() -> None:
    assert nearest("fecth", ["fetch", "digest"]) == "; did you mean 'fetch'?"
    assert nearest("publish", ["fetch", "digest"]) == ""
    assert nearest("strat", ["stats", "start"]) == "; did you mean 'start'?"
    assert nearest("list", ["slit", "lists"]) == "; did you mean 'lists'?"


def test_where_none_is_near_few_are_listed() -> None:
    assert nearest_or_all("publish", {"fetch", "digest"}) == "; known are digest, fetch"
    assert nearest_or_all("publish", MANY) == ""
    assert nearest_or_all("publish", []) == ""


def test_few_choices_are_listed_whole_and_of_many_the_nearest() -> None:
    assert choices("c", ["a", "b"]) == "a, b"
    assert choices("fecth", ["fetch", "digest"]) == "fetch, digest; did you mean 'fetch'?"
    assert choices("word7", MANY).startswith(f"{LISTED + 1} values, of which the nearest are word7, ")
    assert len(choices("x", MANY)) < 100
