"""Finds a path's route in a tree of segments.

It works on the path as it was sent and decodes each segment by itself, so that `%2F` stays inside a
segment and is refused as part of an identifier, rather than becoming another route.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from perdure.api.route import Route
from perdure.errors import InvalidIdentifier, MethodNotAllowed, NotFound


class Match(NamedTuple):
    route: Route
    values: list[str]
    """Decoded segments for the route's parameters, in order."""


class _Branch:
    __slots__ = ("any", "fixed", "routes")

    def __init__(self) -> None:
        self.fixed: dict[str, _Branch] = {}
        self.any: _Branch | None = None
        self.routes: dict[str, Route] = {}


class Router:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Branch()
        for route in routes:
            self._add(route)

    def match(self, method: str, raw_path: str) -> Match:
        """The route for a method and a path (HEAD finds GET's).

        Raises NotFound, MethodNotAllowed (`details["allow"]` lists the methods), InvalidIdentifier.
        """
        segments = raw_path.split("/")[1:]
        found = self._walk(self._root, segments, 0)
        if not found:
            raise NotFound(f"there is nothing at {raw_path[:200]}")
        wanted = "GET" if method == "HEAD" else method
        for branch, values in found:
            route = branch.routes.get(wanted)
            if route is not None:
                return Match(route, [_decoded(value) for value in values])
        allow = self._allow(found)
        raise MethodNotAllowed(f"{method} is not possible here; use {', '.join(allow)}", allow=allow)

    def allowed(self, raw_path: str) -> list[str]:
        """The methods that a path knows. Raises NotFound."""
        found = self._walk(self._root, raw_path.split("/")[1:], 0)
        if not found:
            raise NotFound(f"there is nothing at {raw_path[:200]}")
        return self._allow(found)

    def _add(self, route: Route) -> None:
        branch = self._root
        for segment in route.path.split("/")[1:]:
            if segment.startswith("{"):
                branch.any = branch.any or _Branch()
                branch = branch.any
            else:
                branch = branch.fixed.setdefault(segment, _Branch())
        if route.method in branch.routes:
            raise ValueError(f"{route.method} {route.path} stands in the route table twice")
        branch.routes[route.method] = route

    def _walk(self, branch: _Branch, segments: list[str], at: int) -> list[tuple[_Branch, list[str]]]:
        """All branches with routes that fit, fixed segments first."""
        if at == len(segments):
            return [(branch, [])] if branch.routes else []
        found: list[tuple[_Branch, list[str]]] = []
        fixed = branch.fixed.get(segments[at])
        if fixed is not None:
            found = self._walk(fixed, segments, at + 1)
        if branch.any is not None and segments[at]:
            found += [(end, [segments[at], *values]) for end, values in self._walk(branch.any, segments, at + 1)]
        return found

    @staticmethod
    def _allow(found: list[tuple[_Branch, list[str]]]) -> list[str]:
        methods = {method for branch, _ in found for method in branch.routes}
        if "GET" in methods:
            methods.add("HEAD")
        return sorted(methods | {"OPTIONS"})


def _decoded(segment: str) -> str:
    if "%" not in segment:
        return segment
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidIdentifier(f"{segment[:100]!r} is not UTF-8 after percent-decoding") from None
