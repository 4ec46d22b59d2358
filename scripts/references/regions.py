"""Pages in which some parts are written by people and others made from the code.

A made part stands between `<!-- made: NAME -->` and `<!-- end of NAME -->`; one that takes long to make says how
instead of `made`: `simulated`, or `measured`, which differs each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

Maker = Callable[[], str]

_REGIONS = {
    kind: re.compile(
        rf"(?P<head><!-- {kind}: (?P<name>[a-z-]+) -->\n).*?(?P<foot><!-- end of (?P=name) -->)", re.DOTALL
    )
    for kind in ("made", "measured", "simulated")
}


def names_in(text: str) -> list[str]:
    """The names of a page's made parts, in order."""
    return [match["name"] for match in _REGIONS["made"].finditer(text)]


def renewed(text: str, makers: Mapping[str, Maker], *, kind: str = "made") -> str:
    """The page with every part of that kind made anew. Raises KeyError for a part that nobody makes."""
    return _REGIONS[kind].sub(
        lambda match: f"{match['head']}\n{makers[match['name']]().strip()}\n\n{match['foot']}", text
    )


def part(text: str, name: str) -> str:
    """What stands in that part of a page, of whatever kind. Raises KeyError when there is none."""
    for region in _REGIONS.values():
        for match in region.finditer(text):
            if match["name"] == name:
                return match[0].removeprefix(match["head"]).removesuffix(match["foot"]).strip()
    raise KeyError(name)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"
