"""Tokens: made (and shown once), listed, revoked."""

from __future__ import annotations

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import optional_time, time_text, token
from perdure.auth.roles import Role
from perdure.auth.tokens import new_secret, secret_hash
from perdure.base.clock import to_micros
from perdure.base.ids import id_text, new_id
from perdure.base.nearest import nearest_or_all
from perdure.errors import InvalidRequest, Problem, TokenNotFound, invalid_request
from perdure.store.commands import CreateToken, RevokeToken
from perdure.wire import system
from perdure.wire.system import CreatedToken, TokenList


async def create_token(call: Call[NoQuery, system.CreateToken]) -> Answer:
    """A new token; its secret is in this answer and nowhere else. The first one closes an open server."""
    body = call.body
    now = call.services.clock.now()
    role = _role(body.role)
    expires_at = None if body.expires_at is None else to_micros(body.expires_at)
    if expires_at is not None and expires_at <= now:
        raise _refused("out_of_range", "expires_at is in the past", "/expires_at")
    secret = new_secret()
    id = new_id(now)
    workspace = call.principal.workspace
    await call.services.engine.recorder.execute(
        CreateToken(
            at=now, id=id, name=body.name, sha256=secret_hash(secret), role=role, workspace=workspace,
            expires_at=expires_at,
        )
    )  # fmt: skip
    call.services.authority.token_made()
    made = CreatedToken(
        id=id_text(id), name=body.name, role=role, workspace=workspace, created_at=time_text(now),
        expires_at=optional_time(expires_at), revoked_at=None, secret=secret,
    )  # fmt: skip
    return Answer(status=201, body=made, headers=[(b"cache-control", b"no-store")])


async def list_tokens(call: Call[NoQuery, None]) -> Answer:
    """All tokens, revoked ones too, without their secrets."""
    records = await call.services.engine.store.tokens.list()
    mine = call.principal.workspace
    data = [token(record) for record in records if mine is None or record.workspace == mine]
    return Answer(body=TokenList(data=data))


async def revoke_token(call: Call[NoQuery, None]) -> Answer:
    """It is refused from now on, and its event streams end."""
    id = call.path["token"]
    mine = call.principal.workspace
    if mine is not None:
        known = {record.id for record in await call.services.engine.store.tokens.list() if record.workspace == mine}
        if id not in known:
            raise TokenNotFound(f"there is no token {id_text(id)}")
    await call.services.engine.recorder.execute(RevokeToken(at=call.services.clock.now(), id=id))
    call.services.authority.token_revoked(id)
    return Answer(status=204)


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise _refused(
            "invalid_value", f'there is no role "{text[:60]}"{nearest_or_all(text, list(Role))}', "/role"
        ) from None


def _refused(code: str, detail: str, pointer: str) -> InvalidRequest:
    return invalid_request([Problem(code, detail, pointer)])


ROUTES = (
    Route(
        method="POST", path=f"{API}/tokens", summary="Make a token", tag="tokens", handler=create_token, role=Role.ADMIN,
        body=system.CreateToken, outcomes=(Outcome(status=201, type=CreatedToken, description="Made; shown this once"),),
    ),
    Route(
        method="GET", path=f"{API}/tokens", summary="List tokens", tag="tokens", handler=list_tokens, role=Role.ADMIN,
        outcomes=(Outcome(type=TokenList),),
    ),
    Route(
        method="DELETE", path=f"{API}/tokens/{{token}}", summary="Revoke a token", tag="tokens", handler=revoke_token,
        role=Role.ADMIN, outcomes=(Outcome(status=204, description="Revoked"),), errors=(TokenNotFound,),
    ),
)  # fmt: skip
