"""Whole histories as one stream: what lists show page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, Literal, get_args

import msgspec

from perdure.api.answer import Header, Receive, Send
from perdure.api.call import Call
from perdure.api.exporting import Format, Writer, writer_of
from perdure.api.pieces import send_pieces
from perdure.api.resources.filtering import TextFilters, execution_filter, text_filter
from perdure.api.resources.lists import Field, payloads_for, select_fields
from perdure.api.route import API, Outcome, Route
from perdure.auth.roles import Role
from perdure.engine.searching import TextFilter
from perdure.errors import ExtraMissing, InvalidIdentifier
from perdure.store.interface import ExecutionFilter, Page
from perdure.store.records import ExecutionRecord

PAGE = 250
PIECE = 256 * 1024
"""Bytes that a reader gets at once: one that takes them slowly is not one that stands still."""
FIELDS: tuple[str, ...] = get_args(Field)


class ExportQuery(TextFilters, kw_only=True, forbid_unknown_fields=True):
    format: Format = "ndjson"
    order: Literal["newest", "oldest"] = "newest"
    fields: list[Field] = msgspec.field(default_factory=list)


class Export:
    """A `Responder`: reads on when what was read is on its way, so that memory does not grow with the history."""

    def __init__(
        self,
        call: Call[ExportQuery, None],
        filter: ExecutionFilter,
        texts: TextFilter | None,
        *,
        fields: list[str],
        writer: Writer,
    ) -> None:
        self._call = call
        self._filter = filter
        self._texts = texts
        self._fields = fields
        self._writer = writer

    async def respond(self, *, headers: list[Header], head_only: bool, receive: Receive, send: Send) -> int:
        disposition = f'attachment; filename="executions.{self._writer.extension}"'
        headers += [
            (b"content-type", self._writer.media_type),
            (b"content-disposition", disposition.encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not head_only:
            try:
                async with aclosing(self._pieces()) as pieces:
                    await send_pieces(pieces, receive, send)
            except TimeoutError:
                self._call.abort()
                return 200
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return 200

    async def _pieces(self) -> AsyncGenerator[bytes]:
        wanted = set(self._fields)
        yield self._writer.head()
        async for records in self._pages():
            # However many rests of the page are told one after the other.
            payloads = await payloads_for(self._call, records, wanted)
            while records:
                rows, read = await select_fields(self._call, records, payloads, wanted)
                records = records[read:]
                # Thousands of rows may become compressed columns just now.
                for piece in _pieces_of(await asyncio.to_thread(self._writer.rows, rows)):
                    yield piece
        for piece in _pieces_of(await asyncio.to_thread(self._writer.end)):
            yield piece

    async def _pages(self) -> AsyncIterator[list[ExecutionRecord]]:
        engine, workspace = self._call.services.engine, self._call.workspace
        page = Page(limit=PAGE, newest_first=self._call.query.order == "newest")
        while True:
            records: list[ExecutionRecord]
            if self._texts is None:
                records, rest_after = await engine.store.executions.page(workspace, self._filter, page)
            else:
                records, rest_after, _ = await engine.searcher.page(workspace, self._filter, self._texts, page)
            yield records
            if rest_after is None:
                return
            page = msgspec.structs.replace(page, after=rest_after)


async def export_executions(call: Call[ExportQuery, None]) -> Export:
    """All executions that fit, as one stream."""
    query = call.query
    filter = execution_filter(query, call.services.clock.now())
    chosen = set(query.fields)
    fields = [field for field in FIELDS if not chosen or field in chosen or field == "id"]
    writer = await asyncio.to_thread(writer_of, query.format, fields)
    return Export(call, filter, text_filter(query), fields=fields, writer=writer)


def _pieces_of(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


def _outcome(media_type: str, type: Any = None) -> Outcome:
    return Outcome(
        type=type, media_type=media_type, description="All of them, as an attachment", headers=("Content-Disposition",)
    )


ROUTES = (
    Route(
        method="GET",
        path=f"{API}/executions/export",
        summary="Export executions",
        description=(
            "Everything that the same filters list, however much that is: `ndjson` (an object a line), `json` (one array), "
            "`csv` (with a line of names; nested values as JSON; a text that a spreadsheet would take for a formula has a `'` "
            "before it) or `parquet` (typed columns; nested values as JSON; where the "
            "server has the extra `perdure[parquet]`). `fields` picks the fields, all of them without it. What is "
            "started meanwhile may be missing; a stream that is cut off was not whole."
        ),
        tag="executions",
        handler=export_executions,
        role=Role.VIEWER,
        query=ExportQuery,
        outcomes=(
            _outcome("application/x-ndjson"),
            _outcome("text/csv"),
            _outcome("application/json", list[dict[str, Any]]),
            _outcome("application/vnd.apache.parquet"),
        ),
        errors=(InvalidIdentifier, ExtraMissing),
    ),
)
