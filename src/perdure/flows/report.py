"""Collects everything that is wrong with one document, each with its place."""

from __future__ import annotations

import re
from bisect import bisect_right

from perdure.errors import Problem
from perdure.flows.documents import Document
from perdure.flows.expressions import Fault
from perdure.flows.positions import Place
from perdure.flows.schema_errors import Finding

_WINDOW = 20_000


class Report:
    """`problems` in the order of the document at the end."""

    def __init__(self, document: Document | None) -> None:
        self._document = document
        self._lines: _Lines | None = None
        # A set that keeps the order.
        self._found: dict[Problem, None] = {}
        self._settled: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, code: str, detail: str, pointer: str, *, at_key: bool = False) -> None:
        place = self._place(pointer, at_key=at_key)
        self._put(code, detail, pointer, place)

    def settle(self, code: str, detail: str, pointer: str) -> None:
        """A problem after which faults of expressions at the pointer are not told."""
        self.add(code, detail, pointer)
        self._settled.add(pointer)

    def finding(self, finding: Finding) -> None:
        self.add(finding.code, finding.detail, finding.pointer, at_key=finding.is_key)

    def fault(self, pointer: str, text: str, fault: Fault) -> None:
        """A fault in the expression or template that stands at the pointer."""
        if pointer in self._settled:
            return
        place = self._place(pointer)
        if place is not None and self._document is not None:
            if self._lines is None:
                self._lines = _Lines(self._document.text)
            place = self._lines.within(place, text, fault.offset)
        self._put(fault.code, fault.detail, pointer, place)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(sorted(self._found, key=lambda problem: (problem.line or 0, problem.column or 0)))

    def _put(self, code: str, detail: str, pointer: str, place: Place | None) -> None:
        line, column = place or (None, None)
        self._found[Problem(code, detail, pointer, line=line, column=column)] = None

    def _place(self, pointer: str, *, at_key: bool = False) -> Place | None:
        if self._document is None:
            return None
        places = self._document.located()
        return places.find_key(pointer) if at_key else places.find(pointer)


class _Lines:
    """A source with the places where its lines begin."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._starts = [0, *(found.end() for found in re.finditer("\n", source))]

    def within(self, start: Place, text: str, offset: int) -> Place:
        """Where the character `offset` of a text stands in the source that the text was written in.

        Quoting, folding and indentation lie between the two, so the line of the text is looked for
        in the source from where the text begins, then what follows the offset in it; when neither is
        there, the beginning has to do.
        """
        line_start = text.rfind("\n", 0, offset) + 1
        line_end = text.find("\n", offset)
        line_end = len(text) if line_end < 0 else line_end
        # YAML knows line breaks that this does not.
        begin = self._starts[min(start.line, len(self._starts)) - 1] + start.column - 1
        end = begin + len(text) * 2 + _WINDOW
        line = text[line_start:line_end]
        indent = len(line) - len(line.lstrip())
        if line.strip() and (found := self._source.find(line.strip(), begin, end)) >= 0:
            at = found + max(offset - line_start - indent, 0)
        elif (rest := text[offset:line_end].strip()) and (found := self._source.find(rest, begin, end)) >= 0:
            at = found
        else:
            return start
        number = bisect_right(self._starts, at)
        return Place(number, at - self._starts[number - 1] + 1)
