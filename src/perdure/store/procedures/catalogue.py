"""Workers, tokens and artifacts."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.base.ids import id_text
from perdure.errors import TokenNotFound
from perdure.store.commands import CreateToken, PutArtifacts, RegisterWorker, RevokeToken, StopWorker
from perdure.store.procedures.context import Context
from perdure.store.procedures.rows import artifact_row, worker_row
from perdure.store.statements import All, Many, Procedure


def register_worker(context: Context, command: RegisterWorker) -> Procedure[int]:
    worker = command.worker
    if command.lease:
        yield All("lease_put", {"lease": command.lease, "worker": worker.id})
    yield Many("workers_put", [worker_row(worker)])
    rows = yield All("worker_number", {"worker": worker.id})
    number: int = rows[0][0]
    return number


def alive(workers: Sequence[str]) -> Procedure[set[str]]:
    """Those that are registered and not declared dead; that cannot change before the transaction ends."""
    if not workers:
        return set()
    rows = yield Many("workers_alive", [(worker,) for worker in workers])
    return {row[0] for row in rows}


def stop_worker(context: Context, command: StopWorker) -> Procedure[None]:
    yield Many("workers_stop", [(command.worker, command.at)])


def create_token(context: Context, command: CreateToken) -> Procedure[None]:
    yield Many(
        "tokens_put",
        [
            (
                command.id,
                command.name,
                command.sha256,
                command.role,
                command.workspace,
                command.at,
                command.expires_at,
            )
        ],
    )


def revoke_token(context: Context, command: RevokeToken) -> Procedure[None]:
    rows = yield All("token_revoked", {"id": command.id})
    if not rows:
        raise TokenNotFound(f"there is no token {id_text(command.id)}", id=id_text(command.id))
    yield All("token_revoke", {"id": command.id, "at": command.at})


def put_artifacts(context: Context, command: PutArtifacts) -> Procedure[None]:
    if command.artifacts:
        yield Many("artifacts_put", [artifact_row(artifact) for artifact in command.artifacts])
