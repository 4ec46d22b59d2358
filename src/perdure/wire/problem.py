"""Problem documents (RFC 9457)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from perdure.errors import Problem


class ProblemDocument(Struct, kw_only=True):
    """`code` is stable; `errors` lists everything that is wrong with the request, each with its place."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[Problem]
    details: dict[str, Any] | None = None
