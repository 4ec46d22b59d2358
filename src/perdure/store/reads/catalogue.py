"""Reading flows, artifacts, tokens and workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from perdure.base.codec import decode
from perdure.base.ids import FIRST_ID, LAST_ID
from perdure.store.procedures.rows import artifact_of
from perdure.store.reads.reader import Reader
from perdure.store.records import ArtifactRecord, FlowRecord, FlowVersionRecord, TokenRecord, WorkerRecord
from perdure.store.statements import All, Many, Procedure, T

WORKERS_SHOWN = 1_000
_AFTER_ALL = "\U0010ffff"
_NO_NUMBER = 1 << 62


class StoredFlows:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def get(self, workspace: str, id: str) -> FlowRecord | None:
        return _first(await self._read(_made(All("flow_get", {"workspace": workspace, "id": id}), flow_of)))

    async def version(self, workspace: str, id: str, number: int | None = None) -> FlowVersionRecord | None:
        key = {"workspace": workspace, "id": id}
        request = All("flow_version_latest", key) if number is None else All("flow_version", {**key, "number": number})
        return _first(await self._read(_made(request, flow_version_of)))

    async def versions(
        self, workspace: str, id: str, *, before: int | None = None, limit: int = 100
    ) -> list[FlowVersionRecord]:
        key = {"workspace": workspace, "id": id, "before": _NO_NUMBER if before is None else before, "limit": limit}
        return await self._read(_made(All("flow_version_list", key), flow_version_of))

    async def list(
        self, workspace: str, *, namespace: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[FlowRecord]:
        first = "" if namespace is None else namespace + "/"
        span = {"after": max(after or "", first), "until": first + _AFTER_ALL, "limit": limit}
        return await self._read(_made(All("flow_list", {"workspace": workspace, **span}), flow_of))


class StoredArtifacts:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def get(self, workspace: str, id: bytes) -> ArtifactRecord | None:
        return _first(await self._read(_made(All("artifact", {"workspace": workspace, "id": id}), artifact_of)))

    async def list(
        self, workspace: str, *, execution_id: bytes | None = None, after: bytes | None = None, limit: int = 100
    ) -> list[ArtifactRecord]:
        """Of one execution: oldest first; of the workspace: newest first."""
        span: dict[str, Any] = {"workspace": workspace, "limit": limit}
        if execution_id is None:
            request = All("artifacts_of_workspace", {**span, "before": after or LAST_ID})
        else:
            request = All("artifacts_of_execution", {**span, "execution_id": execution_id, "after": after or FIRST_ID})
        return await self._read(_made(request, artifact_of))


class StoredContents:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def used(self, sha256s: Sequence[bytes]) -> set[bytes]:
        return await self._read(_used(sha256s))

    async def store_id(self) -> int:
        return await self._read(_store_id())


class StoredTokens:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def any(self) -> bool:
        return bool(await self._read(_made(All("token_any"), tuple)))

    async def by_hash(self, sha256: bytes) -> TokenRecord | None:
        return _first(await self._read(_made(All("token_by_hash", {"sha256": sha256}), token_of)))

    async def list(self) -> list[TokenRecord]:
        return await self._read(_made(All("token_list"), token_of))


class StoredWorkers:
    def __init__(self, read: Reader) -> None:
        self._read = read

    async def count(self) -> int:
        ((found,),) = await self._read(_made(All("worker_count"), tuple))
        return int(found)

    async def list(self) -> list[WorkerRecord]:
        """The newest first."""
        return await self._read(_made(All("worker_list", {"limit": WORKERS_SHOWN}), worker_of))


def _used(sha256s: Sequence[bytes]) -> Procedure[set[bytes]]:
    rows = yield Many("contents_used", [(sha256,) for sha256 in sha256s])
    return {sha256 for (sha256,) in rows}


def _store_id() -> Procedure[int]:
    rows = yield All("measure", {"name": "store_id"})
    return int(rows[0][0]) if rows else 0


def _made(request: All, make: Callable[[Any], T]) -> Procedure[list[T]]:
    rows = yield request
    return [make(row) for row in rows]


def _first(found: Sequence[T]) -> T | None:
    return found[0] if found else None


def flow_of(row: Sequence[Any]) -> FlowRecord:
    number, workspace, id, latest, description, source, created_at, updated_at = row
    return FlowRecord(
        number=number,
        workspace=workspace,
        id=id,
        latest=latest,
        description=description,
        source=source,
        created_at=created_at,
        updated_at=updated_at,
    )


def flow_version_of(row: Sequence[Any]) -> FlowVersionRecord:
    workspace, flow, number, content_hash, document, source_text, media_type, created_at = row
    return FlowVersionRecord(
        workspace=workspace,
        flow=flow,
        number=number,
        content_hash=content_hash,
        document=document,
        source_text=source_text,
        media_type=media_type,
        created_at=created_at,
    )


def token_of(row: Sequence[Any]) -> TokenRecord:
    id, name, sha256, role, workspace, created_at, expires_at, revoked_at = row
    return TokenRecord(
        id=id,
        name=name,
        sha256=sha256,
        role=role,
        workspace=workspace,
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


def worker_of(row: Sequence[Any]) -> WorkerRecord:
    (
        id, number, name, host, pid, started_at, heartbeat_at, stopped_at, queues, slots, tags, version, owned,
    ) = row  # fmt: skip
    return WorkerRecord(
        id=id,
        number=number,
        name=name,
        host=host,
        pid=pid,
        started_at=started_at,
        heartbeat_at=heartbeat_at,
        stopped_at=stopped_at,
        queues=None if queues is None else tuple(decode(queues)),
        slots=slots,
        tags=tuple(decode(tags)),
        version=version,
        owned=owned,
    )
