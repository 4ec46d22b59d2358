"""A flow's graph as text."""

from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.graphs import ascii_graph, dot, layers, mermaid
from perdure.wire.nodes import Edge, FlowGraph
from tests.cli.facts import graph_node

DIAMOND = FlowGraph(
    flow="default/x",
    flow_version=1,
    nodes=[graph_node("a"), graph_node("b", foreach=True), graph_node("c"), graph_node("d")],
    edges=[Edge(source=s, target=t) for s, t in (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))],
)


def test_layers_follow_the_longest_way() -> None:
    assert layers(["d", "c", "b", "a"], [("a", "b"), ("b", "c"), ("a", "c"), ("c", "d")]) == [
        ["a"],
        ["b"],
        ["c"],
        ["d"],
    ]


def test_ascii_names_each_node_once_with_its_needs() -> None:
    assert ascii_graph(DIAMOND).splitlines() == [
        "● a      python",
        "├─▶ b    python · foreach  ◀ a",
        "└─▶ c    python  ◀ a",
        "  └─▶ d  python  ◀ b, c",
    ]


def test_mermaid_and_dot_have_every_edge() -> None:
    assert "  b --> d" in mermaid(DIAMOND).splitlines()
    assert '  "b" -> "d";' in dot(DIAMOND).splitlines()


@given(st.integers(1, 40).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))))
))  # fmt: skip
def test_every_node_stands_behind_what_it_needs(sample) -> None:
    count, pairs = sample
    edges = [(str(min(pair)), str(max(pair))) for pair in pairs if pair[0] != pair[1]]
    found = layers([str(number) for number in range(count)], edges)
    place = {node: number for number, layer in enumerate(found) for node in layer}
    assert len(place) == count
    assert all(place[source] < place[target] for source, target in edges)
