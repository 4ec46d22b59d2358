"""Tells callers apart: a bearer token to a principal, and open mode on loopback before the first token."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from perdure.auth.roles import Role
from perdure.auth.tokens import looks_like_token, same_hash, secret_hash
from perdure.base.clock import SECOND, Clock
from perdure.errors import PermissionDenied, Unauthenticated, WorkspaceNotFound
from perdure.store.interface import Tokens
from perdure.store.records import TokenRecord

TRUSTED_FOR = SECOND
"""How long a token that was read counts as good without reading it again, in microseconds."""
DEFAULT_WORKSPACE = "default"
REMEMBERED = 1_024
"""Tokens kept in memory."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. `token_id` is None for anybody on an open server; `workspace` None means all of them."""

    token_id: bytes | None
    name: str
    role: Role
    workspace: str | None

    def check_role(self, needed: Role) -> None:
        """Raises PermissionDenied."""
        if not self.role.covers(needed):
            raise PermissionDenied(f"this needs the role {needed}; the token's role is {self.role}")


def workspace_of(principal: Principal, named: str | None) -> str:
    """The workspace that a caller works in: the one that he names, the token's own, or the default one.

    Raises WorkspaceNotFound.
    """
    workspace = principal.workspace or DEFAULT_WORKSPACE if named is None else named
    if workspace != DEFAULT_WORKSPACE or principal.workspace not in {None, workspace}:
        raise WorkspaceNotFound(f"there is no workspace {workspace[:100]!r} for this caller")
    return workspace


ANYBODY = Principal(token_id=None, name="anybody on this machine", role=Role.ADMIN, workspace=None)

UNKNOWN = Principal(token_id=b"", name="nobody yet", role=Role.VIEWER, workspace=None)
"""A caller who is yet to say who he is; only what asks him for it may meet him."""


class Authority:
    """Reads tokens through a short memory, so that a busy caller costs no query per request."""

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._good: dict[bytes, tuple[TokenRecord, int]] = {}
        self._closed = False
        self._checked_at: int | None = None
        self._watchers: set[Callable[[bytes | None], None]] = set()

    async def is_open(self) -> bool:
        """Whether no token was ever made; once one was, the server stays closed."""
        if self._closed:
            return False
        now = self._clock.monotonic()
        if self._checked_at is None or now - self._checked_at >= TRUSTED_FOR:
            self._closed = await self._tokens.any()
            self._checked_at = now
        return not self._closed

    @property
    def is_closed(self) -> bool:
        """Whether it is known already that a token was made, without asking the store."""
        return self._closed

    async def identify(self, authorization: str | None) -> Principal:
        """The principal behind an `Authorization` header.

        Raises Unauthenticated when it is missing on a server that is not open, or names no good token.
        """
        if authorization is None:
            if await self.is_open():
                return ANYBODY
            raise Unauthenticated("this server needs a token; send it as `Authorization: Bearer perdure_…`")
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not looks_like_token(secret):
            raise Unauthenticated("what was sent is no bearer token of perdure: these begin with perdure_")
        record = await self._good_token(secret_hash(secret))
        if record is None:
            raise Unauthenticated("this token is unknown, expired or revoked")
        return Principal(token_id=record.id, name=record.name, role=Role(record.role), workspace=record.workspace)

    def token_made(self) -> None:
        """Close the server at once in this process, and tell watchers that open mode is over."""
        was_open = not self._closed
        self._closed = True
        if was_open:
            self._tell(None)

    def token_revoked(self, id: bytes) -> None:
        """Forget the token, and tell watchers (streams) of it."""
        self._good = {key: entry for key, entry in self._good.items() if entry[0].id != id}
        self._tell(id)

    def watch(self, watcher: Callable[[bytes | None], None]) -> None:
        """Call it with the id of each token that is revoked here; with None when open mode ends."""
        self._watchers.add(watcher)

    async def revoked_among(self, ids: Iterable[bytes | None]) -> list[bytes | None]:
        """Which of these principals' tokens are no longer good (None stands for open mode)."""
        wanted = set(ids) - {UNKNOWN.token_id}
        if not wanted:
            return []
        gone: list[bytes | None] = []
        if None in wanted and not await self.is_open():
            gone.append(None)
        wanted.discard(None)
        if wanted:
            now = self._clock.now()
            good = {record.id for record in await self._tokens.list() if _is_good(record, now)}
            gone += [id for id in wanted if id not in good]
        return gone

    def _tell(self, id: bytes | None) -> None:
        for watcher in self._watchers:
            watcher(id)

    async def _good_token(self, hashed: bytes) -> TokenRecord | None:
        now = self._clock.monotonic()
        known = self._good.get(hashed)
        if known is None or now - known[1] >= TRUSTED_FOR:
            record = await self._tokens.by_hash(hashed)
            if record is None or not same_hash(record.sha256, hashed):
                self._good.pop(hashed, None)
                return None
            if len(self._good) >= REMEMBERED:
                self._good.clear()
            known = self._good[hashed] = (record, now)
        return known[0] if _is_good(known[0], self._clock.now()) else None


def _is_good(record: TokenRecord, now: int) -> bool:
    return record.revoked_at is None and (record.expires_at is None or record.expires_at > now)
