"""Files that nodes published: listed, and handed out as files, never as pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta

from perdure.api.answer import Answer, Header, Receive, Send
from perdure.api.call import Call
from perdure.api.cursors import cut_page, decode_id_cursor
from perdure.api.etags import not_modified
from perdure.api.pieces import send_pieces
from perdure.api.resources.lookup import find_execution, next_link
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.services import FileStorage
from perdure.api.shapes import artifact
from perdure.auth.roles import Role
from perdure.base.ids import id_text
from perdure.errors import ArtifactNotFound, ExecutionNotFound, InvalidCursor, RangeNotSatisfiable
from perdure.store.records import ArtifactRecord
from perdure.wire.artifacts import ArtifactList

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}(; ?[A-Za-z0-9-]{1,32}=[A-Za-z0-9._-]{1,64})?"
)


class ArtifactsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None


async def list_artifacts(call: Call[ArtifactsQuery, None]) -> Answer:
    """Artifacts of one execution, in the order in which they were published."""
    execution = await find_execution(call)
    query = call.query
    kind = f"artifacts-{id_text(execution.id)}"
    after = decode_id_cursor(query.cursor, kind, call.workspace)
    records = await call.services.engine.store.artifacts.list(
        call.workspace, execution_id=execution.id, after=after, limit=query.limit + 1
    )
    records, cursor = cut_page(records, query.limit, kind, call.workspace, lambda record: record.id.hex())
    data = [artifact(record, base=f"{API}/artifacts") for record in records]
    return Answer(body=ArtifactList(data=data, next=cursor), headers=next_link(call, cursor))


async def get_artifact(call: Call[NoQuery, None]) -> Answer | FileAnswer:
    """The bytes, as an attachment; whole, or the one range that is asked for."""
    record = await call.services.engine.store.artifacts.get(call.workspace, call.path["artifact"])
    if record is None:
        raise ArtifactNotFound(f"there is no artifact {id_text(call.path['artifact'])}")
    etag = f'"{record.sha256.hex()}"'
    if (unchanged := not_modified(call, etag)) is not None:
        return unchanged
    wanted = call.header(b"range")
    if wanted is not None and call.header(b"if-range") not in {None, etag}:
        wanted = None
    span = None if wanted is None else _span(wanted, record.size_bytes)
    await call.services.files.size(record.sha256)
    return FileAnswer(call.services.files, record, span, etag, abort=call.abort)


class FileAnswer:
    """Streams a stored file. `span` is (start, end), the end exclusive; None is the whole."""

    def __init__(
        self,
        files: FileStorage,
        record: ArtifactRecord,
        span: tuple[int, int] | None,
        etag: str,
        *,
        abort: Callable[[], None],
    ) -> None:
        self._abort = abort
        self._files = files
        self._record = record
        self._span = span
        self._etag = etag

    async def respond(self, *, headers: list[Header], head_only: bool, receive: Receive, send: Send) -> int:
        start, end = self._span or (0, self._record.size_bytes)
        status = 200 if self._span is None else 206
        headers += [
            (b"content-type", _safe_media_type(self._record.media_type)),
            (b"content-length", str(end - start).encode()),
            (b"content-disposition", _disposition(self._record.name)),
            (b"content-security-policy", b"sandbox; default-src 'none'"),
            (b"cache-control", b"private, max-age=31536000, immutable"),
            (b"accept-ranges", b"bytes"),
            (b"etag", self._etag.encode()),
        ]
        if self._span is not None:
            headers.append((b"content-range", f"bytes {start}-{end - 1}/{self._record.size_bytes}".encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if not head_only and end > start:
            source: Any = self._files.open(self._record.sha256, start=start, end=end)
            try:
                async with aclosing(source) as pieces:
                    await send_pieces(pieces, receive, send)
            except TimeoutError:
                self._abort()
                return status
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return status


def _span(header: str, size: int) -> tuple[int, int] | None:
    """The one range of a Range header (RFC 9110); None (the whole) for several or for other units.

    Raises RangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(size - int(match[2]), 0), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= size or end <= start:
        raise RangeNotSatisfiable(f"the file has {size} bytes; {header.strip()[:60]!r} names none of them", size=size)
    return start, end


def _safe_media_type(text: str) -> bytes:
    """The recorded media type, or plain bytes where it is none: a node chose it, so it is not trusted."""
    return text.encode() if _MEDIA_TYPE.fullmatch(text) else b"application/octet-stream"


def _disposition(name: str) -> bytes:
    """RFC 6266: always an attachment; the name without folders, in ASCII and in UTF-8."""
    last = re.split(r"[/\\]", name)[-1] or "artifact"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", last)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='')}".encode()


ROUTES = (
    Route(
        method="GET",
        path=f"{API}/executions/{{execution}}/artifacts",
        summary="Artifacts of an execution",
        tag="artifacts",
        handler=list_artifacts,
        role=Role.VIEWER,
        query=ArtifactsQuery,
        outcomes=(Outcome(type=ArtifactList, headers=("Link",)),),
        errors=(ExecutionNotFound, InvalidCursor),
    ),
    Route(
        method="GET",
        path=f"{API}/artifacts/{{artifact}}",
        summary="The bytes of an artifact",
        tag="artifacts",
        handler=get_artifact,
        role=Role.VIEWER,
        request_headers=("Range", "If-Range", "If-None-Match"),
        outcomes=(
            Outcome(
                media_type="*/*", description="The file, as an attachment", headers=("ETag", "Content-Disposition")
            ),
            Outcome(status=206, media_type="*/*", description="The range", headers=("ETag", "Content-Range")),
            Outcome(status=304, description="Not modified", headers=("ETag",)),
        ),
        errors=(ArtifactNotFound, RangeNotSatisfiable),
    ),
)
