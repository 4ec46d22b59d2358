"""Entity tags: which version of a resource a caller has, or wants it to be (RFC 9110 §13)."""

from __future__ import annotations

from typing import Any

from perdure.api.answer import Answer
from perdure.api.call import Call


def is_listed(call: Call[Any, Any], header: bytes, etag: str) -> bool:
    """Whether an `If-Match` or `If-None-Match` header lists the tag, or is `*`."""
    tags = {tag.removeprefix("W/") for tag in call.header_list(header)}
    return "*" in tags or etag in tags


def not_modified(call: Call[Any, Any], etag: str) -> Answer | None:
    """304 for a caller who has this version already."""
    if not is_listed(call, b"if-none-match", etag):
        return None
    return Answer(status=304, headers=[(b"etag", etag.encode())])
