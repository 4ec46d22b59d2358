"""The simulated queue gives what the engine's own procedure chooses."""

from hypothesis import given
from hypothesis import strategies as st

from scripts.scale.queue import Queue


def test_every_workspace_gets_its_share() -> None:
    queue = Queue(1)
    for number in range(100):
        queue.put("flood", number, number)
    for number in range(100, 103):
        queue.put("small", number, number)
    assert {100, 101, 102} < set(queue.take(10))
    assert len(queue) == 93


@given(
    entries=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=40),
    limits=st.lists(st.integers(1, 12), min_size=1, max_size=8),
)
def test_each_entry_is_given_once_and_none_while_a_better_one_of_its_line_waits(
    entries: list[tuple[str, int]], limits: list[int]
) -> None:
    queue = Queue(1)
    waiting = {}
    for id, (workspace, rank) in enumerate(entries):
        queue.put(workspace, rank, id)
        waiting[id] = (workspace, rank)
    for limit in limits:
        taken = queue.take(limit)
        assert len(taken) == min(limit, len(waiting))
        given_up = [waiting.pop(id) for id in taken]
        for workspace, rank in waiting.values():
            assert all(rank >= better for line, better in given_up if line == workspace)
    assert len(queue) == len(waiting)
