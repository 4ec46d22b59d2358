"""A flow's graph as text: ASCII for a terminal, Mermaid and DOT for others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perdure.wire.nodes import FlowGraph, GraphNode

FORMATS = ("ascii", "mermaid", "dot")


def draw(graph: FlowGraph, form: str) -> str:
    """The graph in one of FORMATS, without a last newline."""
    return {"ascii": ascii_graph, "mermaid": mermaid, "dot": dot}[form](graph)


def layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Nodes by their longest way from a root; each stands behind all that it needs."""
    needs = _needs(nodes, edges)
    depth: dict[str, int] = {}
    for node in _in_order(nodes, needs):
        depth[node] = 1 + max((depth[need] for need in needs[node]), default=-1)
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in nodes:
        found[depth[node]].append(node)
    return found


def ascii_graph(graph: FlowGraph) -> str:
    """One line a node, layer by layer, with what it needs: legible at any width and with any graph."""
    edges = [(edge.source, edge.target) for edge in graph.edges]
    needs = _needs([node.id for node in graph.nodes], edges)
    by_id = {node.id: node for node in graph.nodes}
    rows = []
    for number, layer in enumerate(layers(list(by_id), edges)):
        for position, node_id in enumerate(layer):
            node = by_id[node_id]
            mark = "●" if number == 0 else "├─▶" if position < len(layer) - 1 else "└─▶"
            rows.append(("  " * max(number - 1, 0) + mark, node, needs[node_id]))
    width = max((len(mark) + len(node.id) for mark, node, _ in rows), default=0)
    lines = []
    for mark, node, needed in rows:
        behind = "  ◀ " + ", ".join(needed) if needed else ""
        lines.append(f"{mark} {node.id:<{width - len(mark)}}  {_about(node)}{behind}")
    return "\n".join(lines)


def mermaid(graph: FlowGraph) -> str:
    lines = ["flowchart LR"]
    lines += [f'  {node.id}["{node.id}<br/><small>{_about(node)}</small>"]' for node in graph.nodes]
    lines += [f"  {edge.source} --> {edge.target}" for edge in graph.edges]
    return "\n".join(lines)


def dot(graph: FlowGraph) -> str:
    lines = [f'digraph "{graph.flow}" {{', "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{node.id}" [label="{node.id}\\n{_about(node)}"];' for node in graph.nodes]
    lines += [f'  "{edge.source}" -> "{edge.target}";' for edge in graph.edges]
    return "\n".join([*lines, "}"])


def _about(node: GraphNode) -> str:
    words = [node.type]
    if node.foreach:
        words.append("foreach")
    if node.when is not None:
        words.append("when")
    if node.run_if != "succeeded":
        words.append(f"run_if {node.run_if}")
    return " · ".join(words)


def _needs(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        found[target].append(source)
    return found


def _in_order(nodes: Sequence[str], needs: Mapping[str, list[str]]) -> list[str]:
    """Every node behind those it needs; without recursion, a chain may be a thousand long."""
    order: list[str] = []
    placed: set[str] = set()
    left = list(nodes)
    while left:
        ready = [node for node in left if all(need in placed for need in needs[node])]
        if not ready:
            raise ValueError(f"the graph has a circle through {', '.join(left)}")
        order += ready
        placed.update(ready)
        left = [node for node in left if node not in placed]
    return order
