"""The reference page: one file of ours that draws `/openapi.json`, with no other host involved.

What it shows before its script has run, or where none may run, is rendered here from the same document.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec


class Page(NamedTuple):
    html: bytes
    policy: bytes
    """Its Content-Security-Policy: exactly its own script and style, and this server."""


@cache
def docs_page(openapi: Callable[[], bytes]) -> Page:
    """The page for the OpenAPI document that the function gives."""
    frame = (files("perdure.api") / "static" / "docs.html").read_text(encoding="utf-8")
    html = frame.replace("<!-- plain -->", "\n".join(_plain(msgspec.json.decode(openapi()))))
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


def _plain(api: dict[str, Any]) -> Iterator[str]:
    """Every route by tag, and every problem, under the anchors that the drawn page has."""
    yield f"<h1>API reference</h1><p>{_prose(api['info']['description'])}</p>"
    yield '<p>As a document: <a href="/openapi.json">/openapi.json</a></p>'
    operations = [(path, method, one) for path, methods in api["paths"].items() for method, one in methods.items()]
    for tag in api["tags"]:
        yield f'<h2 class="tag">{escape(tag["name"])}</h2><table>'
        for path, method, one in operations:
            if tag["name"] in one["tags"]:
                yield _row(one["operationId"], f"{method.upper()} {path}", one["summary"], one.get("x-role", "public"))
        yield "</table>"
    yield '<h2 class="tag">Problems</h2><table>'
    for problem in api["x-problems"]:
        yield _row(f"problem-{problem['code']}", problem["code"], problem["title"], str(problem["status"]))
    yield "</table>"


def _row(anchor: str, name: str, text: str, more: str) -> str:
    return (
        f'<tr id="{escape(anchor)}"><td><code>{escape(name)}</code></td><td>{escape(text)}</td>'
        f'<td class="dim">{escape(more)}</td></tr>'
    )


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
