"""`perdure token create | list | revoke`, on the server, or on the local store when none runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import click

from perdure.auth.roles import Role
from perdure.auth.tokens import new_secret, secret_hash
from perdure.base.clock import SystemClock, to_micros, to_rfc3339
from perdure.base.ids import id_bytes, id_text, new_id
from perdure.cli.event_loop import run_loop
from perdure.cli.inputs import parse_moment
from perdure.cli.output import Column, age, format_option, note, print_list, print_one
from perdure.cli.session import open_session, server_options
from perdure.client.local import running_owner
from perdure.errors import TokenNotFound
from perdure.local import local_store
from perdure.settings import load_settings
from perdure.store.commands import CreateToken, RevokeToken
from perdure.store.interface import Store
from perdure.store.recorder import Recorder
from perdure.store.records import TokenRecord
from perdure.wire.system import CreatedToken, Token

COLUMNS = (
    Column("ID", lambda token: token.id),
    Column("NAME", lambda token: token.name),
    Column("ROLE", lambda token: token.role),
    Column("AGE", lambda token: age(token.created_at)),
    Column("STATE", lambda token: _state(token)),  # noqa: PLW0108
)


class Tokens(Protocol):
    """Tokens on a server, or in the local store."""

    async def create(self, name: str, *, role: str = ..., expires_at: datetime | None = ...) -> CreatedToken: ...
    async def list(self) -> list[Token]: ...
    async def revoke(self, id: str) -> None: ...


class LocalTokens:
    """Tokens of a store that no server owns at present."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = SystemClock()

    async def create(self, name: str, *, role: str = Role.ADMIN, expires_at: datetime | None = None) -> CreatedToken:
        secret = new_secret()
        record = TokenRecord(
            id=new_id(),
            name=name,
            sha256=secret_hash(secret),
            role=role,
            workspace=None,
            created_at=self._clock.now(),
            expires_at=None if expires_at is None else to_micros(expires_at),
        )
        await self._recorder.execute(
            CreateToken(
                at=record.created_at, id=record.id, name=name, sha256=record.sha256, role=role, workspace=None,
                expires_at=record.expires_at,
            )
        )  # fmt: skip
        return CreatedToken(**_fields(record), secret=secret)

    async def list(self) -> list[Token]:
        return [Token(**_fields(record)) for record in await self._store.tokens.list()]

    async def revoke(self, id: str) -> None:
        try:
            key = id_bytes(id)
        except ValueError:
            raise TokenNotFound(f"there is no token {id!r}; `perdure token list` shows their ids") from None
        await self._recorder.execute(RevokeToken(at=self._clock.now(), id=key))


def tokens_command(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make an async function a command's body: it gets `tokens`."""

    @server_options
    def command(
        *, url: str | None, token: str | None, workspace: str | None, profile: str | None, **options: Any
    ) -> None:
        async def run() -> None:
            async with _opened(url=url, token=token, workspace=workspace, profile=profile) as tokens:
                await function(tokens=tokens, **options)

        run_loop(run())

    command.__doc__ = function.__doc__
    command.__click_params__ += getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return command


@click.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice([*map(str, Role)]), default=str(Role.ADMIN), show_default=True, help="What it may do."
)
@click.option("--expires", metavar="TIME", help="When it ends: a time (RFC 3339) or a duration from now (90d).")
@format_option
@tokens_command
async def create(*, tokens: Tokens, name: str, role: str, expires: str | None, output: str) -> None:
    """Create a token called NAME, and print it: only its hash is kept, so it is shown this once.

    The first token closes the server: from then on every call needs one.
    """
    expires_at = None if expires is None else parse_moment(expires, SystemClock(), option="--expires")
    created = await tokens.create(name, role=role, expires_at=expires_at)
    if output == "table":
        click.echo(created.secret)
        note(f"token {created.name!r} ({created.role}), id {created.id}; it is not shown again")
        note("use it with: export PERDURE_TOKEN=…  (or keep it in a file that PERDURE_TOKEN_FILE names)")
    else:
        print_one(created, output, name=lambda found: found.secret, card=lambda _: {})


@click.command("list")
@format_option
@tokens_command
async def list_(*, tokens: Tokens, output: str) -> None:
    """List tokens, revoked ones too, without their secrets."""

    async def source() -> AsyncIterator[Token]:
        for token in await tokens.list():
            yield token

    empty = "no tokens: the server is open to whoever reaches this machine's loopback address"
    await print_list(source(), COLUMNS, output, name=lambda token: token.id, empty=empty)


@click.command()
@click.argument("token_ids", metavar="ID...", nargs=-1, required=True)
@tokens_command
async def revoke(*, tokens: Tokens, token_ids: tuple[str, ...]) -> None:
    """Revoke tokens by their ids; streams that were opened with them end."""
    for token_id in token_ids:
        await tokens.revoke(token_id)
        click.echo(f"{token_id}  revoked")


@asynccontextmanager
async def _opened(
    *, url: str | None, token: str | None, workspace: str | None, profile: str | None
) -> AsyncIterator[Tokens]:
    """A server that is named, or runs here; else the local store."""
    named = any((url, profile, os.environ.get("PERDURE_URL"), os.environ.get("PERDURE_PROFILE")))
    settings = load_settings({}, os.environ, Path.cwd())
    # Who reaches a shared store needs no server.
    is_served = settings.shared_store() is None and running_owner(settings.store_path()) is not None
    if named or is_served:
        session = open_session(url=url, token=token, workspace=workspace, profile=profile)
        async with session.client() as client:
            yield client.tokens
    else:
        async with local_store(settings) as (store, recorder):
            yield LocalTokens(store, recorder)


def _fields(record: TokenRecord) -> dict[str, Any]:
    return {
        "id": id_text(record.id),
        "name": record.name,
        "role": record.role,
        "workspace": record.workspace,
        "created_at": to_rfc3339(record.created_at),
        "expires_at": None if record.expires_at is None else to_rfc3339(record.expires_at),
        "revoked_at": None if record.revoked_at is None else to_rfc3339(record.revoked_at),
    }


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "good" if token.expires_at is None else f"until {token.expires_at}"
