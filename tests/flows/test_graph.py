"""Circles and order of nodes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from perdure.flows.graph import ancestors, find_cycles, in_order

NAMES = st.sampled_from("abcdefg")
GRAPHS = st.dictionaries(NAMES, st.lists(NAMES, max_size=3), max_size=7)


def reaches(start, goal, needs):
    return goal in ancestors(start, needs)


@given(GRAPHS)
def test_a_cycle_is_found_if_and_only_if_there_is_one(needs):
    cycles = find_cycles(needs)
    assert bool(cycles) == any(reaches(node, node, needs) for node in needs)
    for cycle in cycles:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(following in needs[node] for node, following in pairwise(cycle))


@given(GRAPHS)
def test_every_circle_is_touched_by_one_that_is_told(needs):
    told = find_cycles(needs)
    for node in needs:
        if reaches(node, node, needs):
            assert any(reaches(node, cycle[0], needs) and reaches(cycle[0], node, needs) for cycle in told)


@given(GRAPHS, st.randoms())
def test_the_order_follows_the_needs_and_not_the_writing(needs, random):
    order = in_order(needs)
    assert sorted(order) == sorted(needs)
    shuffled = list(needs)
    random.shuffle(shuffled)
    assert in_order({node: needs[node] for node in shuffled}) == order
    if not find_cycles(needs):
        for node, before in needs.items():
            assert all(order.index(need) < order.index(node) for need in before if need in needs)


def test_a_long_chain_needs_no_recursion():
    needs = {f"n{number}": [f"n{number - 1}"] if number else [] for number in range(20_000)}
    assert find_cycles(needs) == []
    assert in_order(needs) == list(needs)
    needs["n0"] = ["n19999"]
    (cycle,) = find_cycles(needs)
    assert len(cycle) == 20_001
