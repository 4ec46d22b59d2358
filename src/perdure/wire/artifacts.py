"""Files that nodes published."""

from __future__ import annotations

from msgspec import Struct

from perdure.wire.scalars import Id, Time


class Artifact(Struct, kw_only=True):
    """`url` is the path of its bytes on this server; `sha256` is in hex."""

    id: Id
    execution: Id
    node: str
    ordinal: int
    attempt: int
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: Time
    url: str


class ArtifactList(Struct, kw_only=True):
    data: list[Artifact]
    next: str | None
