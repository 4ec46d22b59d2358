"""Pages in which some parts are written by people and others made from the code.

A made part stands between `<!-- made: NAME -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

Maker = Callable[[], str]

_REGION = re.compile(r"(?P<head><!-- made: (?P<name>[a-z-]+) -->\n).*?(?P<foot><!-- end of (?P=name) -->)", re.DOTALL)


def names_in(text: str) -> list[str]:
    """The names of a page's made parts, in order."""
    return [match["name"] for match in _REGION.finditer(text)]


def renewed(text: str, makers: Mapping[str, Maker]) -> str:
    """The page with every made part made anew. Raises KeyError for a part that nobody makes."""
    return _REGION.sub(lambda match: f"{match['head']}\n{makers[match['name']]().strip()}\n\n{match['foot']}", text)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"
