"""What callers ask of the engine."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.base.codec import Json
from perdure.model.replay import Reach


class StartRequest(msgspec.Struct, kw_only=True):
    """A start as the API, the CLI or a parent asks for it.

    `flow` is `namespace/name` or a bare name; `version` None means the latest; `timeout` and
    `start_at` are microseconds (a duration, a time); None takes the flow's own value.
    """

    workspace: str
    flow: str
    version: int | None = None
    input: Any = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    trigger_kind: str = "api"
    trigger_id: str | None = None
    trigger_context: Any = None
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    start_at: int | None = None
    priority: int | None = None
    queue: str | None = None
    timeout: int | None = None


class ReplayRequest(msgspec.Struct, kw_only=True):
    """A new execution from what an ended one recorded.

    `begin` names the nodes to begin with, `failed`, or None: from the start, or behind the edited outputs if there are
    some. `version` is a number, `same` or `latest`. `input` unset is the original's; `outputs` are those of nodes
    that shall be taken as given, `may_decide` whether what people decide may be among them.
    """

    workspace: str
    id: bytes
    begin: list[str] | str | None = None
    input: Json = msgspec.UNSET
    outputs: dict[str, Json] = msgspec.field(default_factory=dict)
    version: int | str = "same"
    reach: Reach = Reach.INDEPENDENT
    may_decide: bool = True
    asked_by: str | None = None
    """Name of the caller's token."""
    idempotency_key: str | None = None
    request_hash: bytes | None = None
