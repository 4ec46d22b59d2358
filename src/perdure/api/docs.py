"""The reference page: one file of ours that draws `/openapi.json`, with no other host involved."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Page(NamedTuple):
    html: bytes
    policy: bytes
    """Its Content-Security-Policy: exactly its own script and style, and this server."""


@cache
def docs_page() -> Page:
    html = (files("perdure.api") / "static" / "docs.html").read_text(encoding="utf-8")
    scripts = " ".join(_sources(html, "script"))
    styles = " ".join(_sources(html, "style"))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy.encode())


def _sources(html: str, tag: str) -> list[str]:
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in bodies]
