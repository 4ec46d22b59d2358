"""What the views tell follows from the events alone."""

from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.progress import Progress
from tests.cli.facts import NOON, event, graph_node


def folded(*events, nodes=("a", "b"), foreach=()) -> Progress:
    progress = Progress([graph_node(node, foreach=node in foreach) for node in nodes])
    for one in events:
        progress.add(one)
    return progress


def test_before_anything_happens_everything_waits() -> None:
    progress = folded()
    assert [node.status for node in progress.nodes.values()] == ["waiting", "waiting"]
    assert (progress.status, progress.share, progress.ended) == ("queued", 0, False)


def test_a_life() -> None:
    progress = folded(
        event(1, "execution.created"),
        event(2, "execution.started"),
        event(3, "node.started", "a"),
        event(4, "node.retrying", "a", code="node_failed", message="no luck"),
    )
    a = progress.nodes["a"]
    assert (progress.status, a.status, a.message) == ("running", "retrying", "no luck")
    for one in (
        event(5, "node.started", "a", attempt=2),
        event(6, "node.completed", "a", attempt=2),
        event(7, "node.skipped", "b", reason="when"),
        event(8, "execution.completed"),
    ):
        progress.add(one)
    assert (a.status, a.attempts, progress.nodes["b"].status) == ("completed", 2, "skipped")
    assert (progress.status, progress.share, progress.seq) == ("completed", 1, 8)
    assert progress.finished_at == NOON + 800_000


def test_a_foreach_counts_its_items() -> None:
    progress = folded(
        event(1, "node.started", "a", 0, items=4),
        event(2, "node.started", "a", 1),
        event(3, "node.completed", "a", 0),
        event(4, "node.failed", "a", 1, code="x", message="y"),
        foreach=("a",),
    )
    a = progress.nodes["a"]
    assert (a.ended, a.items, a.status) == (2, 4, "running")
    for seq, ordinal in ((5, 2), (7, 3)):
        progress.add(event(seq, "node.started", "a", ordinal))
        progress.add(event(seq + 1, "node.completed", "a", ordinal))
    assert (a.ended, a.status) == (4, "failed")


def test_a_recovery_is_counted_and_the_status_runs_on() -> None:
    progress = folded(event(1, "execution.interrupted"), event(2, "execution.recovered"))
    assert (progress.status, progress.recoveries) == ("running", 1)


def test_only_the_latest_log_lines_are_kept() -> None:
    progress = folded(*[event(seq, "log", "a", message=str(seq)) for seq in range(1, 100)])
    assert [line.seq for line in progress.lines] == [94, 95, 96, 97, 98, 99]


TYPES = st.sampled_from(
    ["execution.created", "execution.started", "execution.suspended", "execution.resumed", "node.started", "log",
     "node.completed", "node.failed", "node.retrying", "node.suspended", "progress", "artifact.created", "news.of.tomorrow"]
)  # fmt: skip


@given(st.lists(st.tuples(TYPES, st.sampled_from(["a", "b", "c"]), st.integers(0, 3))))
def test_no_sequence_of_events_confuses_it(facts) -> None:
    progress = folded(*[event(seq, type, node, ordinal) for seq, (type, node, ordinal) in enumerate(facts, 1)])
    assert 0 <= progress.share <= 1
    for node in progress.nodes.values():
        assert node.ended <= len(node.runs)
        assert node.status
