"""Pages lead to one another, and nowhere else within the repository."""

import inspect
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import blocks, documented
from tests.plugins.shouting.shout import ShoutNode

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [str(path.relative_to(ROOT)) for path in documented(ROOT)]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_s_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{page} links to {target}"
        if anchor:
            assert anchor in anchors(found), f"{page} links to {target}"


def test_the_index_lists_every_page() -> None:
    listed = {(DOCS / target).resolve() for target in LINK.findall((DOCS / "README.md").read_text(encoding="utf-8"))}
    assert set(DOCS.rglob("*.md")) - {DOCS / "README.md"} == listed


def test_the_page_of_plugins_shows_the_plugin_that_is_tested() -> None:
    page = (DOCS / "how-to" / "node-type-plugin.md").read_text(encoding="utf-8")
    [shown] = [block.body for block in blocks(page) if block.language == "python"]
    assert inspect.getsource(ShoutNode).strip() in shown


@cache
def anchors(path: Path) -> frozenset[str]:
    """As the usual renderers make them from headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return frozenset(
        "".join(one for one in heading.lower().replace(" ", "-") if one.isalnum() or one in "-_")
        for heading in headings
    )
