"""Tokens, workers, health and information about the server itself."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from perdure.base.texts import END
from perdure.wire.flows import Source
from perdure.wire.scalars import Id, Role, Time


class CreateToken(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+" + END)]
    role: Role
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class Token(Struct, kw_only=True):
    id: Id
    name: str
    role: Role
    workspace: str | None
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class CreatedToken(Token, kw_only=True):
    """`secret` is shown this once: the store holds its hash alone."""

    secret: str


class TokenList(Struct, kw_only=True):
    data: list[Token]


class Worker(Struct, kw_only=True):
    """`status` is alive, stale or stopped. `queues` null means all of them; `owned` counts the executions that it owns;
    `silent_s` is the time since its last sign of life."""

    id: str
    number: int
    name: str
    host: str
    pid: int
    status: str
    version: str
    queues: list[str] | None
    tags: list[str]
    slots: int
    owned: int
    started_at: Time
    heartbeat_at: Time
    silent_s: float | None
    stopped_at: Time | None


class WorkerList(Struct, kw_only=True):
    data: list[Worker]


class Health(Struct, kw_only=True):
    """`status` is ok, draining or unavailable."""

    status: str
    checks: dict[str, str]


class SearchInfo(Struct, kw_only=True):
    """The index of texts. `status`: current, building (searches are slower and whole), none. `lag_s`: how long ago the
    oldest commit is that it has not followed. `waiting`: executions that it has not taken in."""

    status: str
    lag_s: float
    waiting: int


class SystemInfo(Struct, kw_only=True):
    """`open`: no token was made yet, so whoever reaches the loopback address may do everything. `recycles`: how often
    the process has replaced itself because of work that could not be stopped (`engine.orphans`)."""

    name: str
    version: str
    python: str
    platform: str
    pid: int
    url: str
    open: bool
    started_at: Time
    uptime_s: float
    recycles: int
    workspace: str
    store: dict[str, Any]
    search: SearchInfo
    engine: dict[str, Any]
    sources: list[Source]
    streams: int
