"""Write the generated parts of the docs, or check them with `--check`."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.references import api, flow, limits, live, settings
from scripts.references.regions import names_in, renewed
from scripts.scale import tables as scale

DOCS = Path(__file__).parents[2] / "docs"
MAKERS = {**flow.MAKERS, **api.MAKERS, **settings.MAKERS, **limits.MAKERS, **live.MAKERS, **scale.MAKERS}


def pages() -> list[Path]:
    """The pages with made parts."""
    return [path for path in sorted(DOCS.rglob("*.md")) if names_in(path.read_text(encoding="utf-8"))]


def main() -> int:
    is_check = "--check" in sys.argv[1:]
    stale = 0
    for path in pages():
        before = path.read_text(encoding="utf-8")
        after = renewed(before, MAKERS)
        if before != after:
            stale += 1
            print(f"{path.relative_to(DOCS.parent)} {'is stale: run make docs' if is_check else 'was renewed'}")  # noqa: T201
            if not is_check:
                path.write_text(after, encoding="utf-8")
    return int(is_check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
