"""The order of a flow's nodes: circles, and what lies before a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def find_cycles(needs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """One cycle for each group of nodes that need each other, as `[a, b, …, a]`: a needs b, b needs ….

    Every name in `needs` that has no entry is taken for a node without needs.
    """
    cycles = []
    for group in _groups(needs):
        members = set(group)
        start = min(group)
        if len(group) > 1 or start in needs.get(start, ()):
            cycles.append(_cycle(start, members, needs))
    return sorted(cycles)


def _groups(needs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Strongly connected components (R. Tarjan, 1972), without recursion."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    groups: list[list[str]] = []
    for root in needs:
        if root in number:
            continue
        work = [(root, iter(needs.get(root, ())))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, following = work[-1]
            child = next(following, None)
            if child is None:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == number[node]:
                    cut = stack.index(node)
                    groups.append(stack[cut:])
                    on_stack.difference_update(stack[cut:])
                    del stack[cut:]
            elif child not in number:
                number[child] = low[child] = len(number)
                stack.append(child)
                on_stack.add(child)
                work.append((child, iter(needs.get(child, ()))))
            elif child in on_stack:
                low[node] = min(low[node], number[child])
    return groups


def _cycle(start: str, members: set[str], needs: Mapping[str, Iterable[str]]) -> list[str]:
    """The shortest way from a node back to itself within its group."""
    before: dict[str, str] = {}
    frontier = [start]
    while frontier:
        following = []
        for node in frontier:
            for child in needs.get(node, ()):
                if child == start:
                    path = [node]
                    while path[-1] != start:
                        path.append(before[path[-1]])
                    return [*reversed(path), start]
                if child in members and child not in before:
                    before[child] = node
                    following.append(child)
        frontier = following
    return [start, start]


def ancestors(node: str, needs: Mapping[str, Iterable[str]]) -> set[str]:
    """All nodes that must have ended before this one starts."""
    found: set[str] = set()
    open_nodes = [node]
    while open_nodes:
        for name in needs.get(open_nodes.pop(), ()):
            if name not in found:
                found.add(name)
                open_nodes.append(name)
    return found


def in_order(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """The nodes by how many lie before them, equals by name: the same for every order of writing.

    Those that wait for each other come last.
    """
    waiting = {node: {need for need in before if need in needs} for node, before in needs.items()}
    following: dict[str, list[str]] = {node: [] for node in needs}
    for node, before in waiting.items():
        for need in before:
            following[need].append(node)
    order: list[str] = []
    level = sorted(node for node, before in waiting.items() if not before)
    while level:
        order += level
        freed = []
        for node in level:
            for other in following[node]:
                waiting[other].discard(node)
                if not waiting[other]:
                    freed.append(other)
        level = sorted(freed)
    return order + sorted(set(needs) - set(order))
