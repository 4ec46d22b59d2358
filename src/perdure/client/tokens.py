"""Tokens: who may talk to the server."""

from __future__ import annotations

from datetime import datetime

from perdure.client.transport import Transport, segment
from perdure.wire.system import CreatedToken, CreateToken, Token, TokenList


class AsyncTokens:
    """`client.tokens`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, name: str, *, role: str = "admin", expires_at: datetime | None = None) -> CreatedToken:
        """A new token; its `secret` is told this once. Not tried again: a lost answer would leave one unknown."""
        request = CreateToken(name=name, role=role, expires_at=expires_at)
        return await self._transport.call("POST", "/tokens", CreatedToken, body=request)

    async def list(self) -> list[Token]:
        """All tokens, revoked ones too, without their secrets."""
        return (await self._transport.call("GET", "/tokens", TokenList)).data

    async def revoke(self, id: str) -> None:
        """From now on it opens nothing. Raises NotFound."""
        await self._transport.request("DELETE", f"/tokens/{segment(id)}")
