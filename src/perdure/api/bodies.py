"""Reading request bodies: bounded while they come in, refused by name and place when they are not what was asked for."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import re
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from perdure.api.answer import ClientGone, Receive
from perdure.api.findings import findings
from perdure.api.route import JSON, Document, Route
from perdure.errors import (
    InvalidRequest,
    MalformedDocument,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
    invalid_request,
)
from perdure.flows.json_text import check_json, parse_json

BODY_LIMIT = 10 * 1024 * 1024
"""Bytes that a request's body may have, inflated."""
DISCARDED = 64 * 1024 * 1024
"""Bytes of a body too large that are taken and thrown away: many clients read no answer before all of it is sent."""
DISCARD_S = 5
BODY_TIMEOUT_S = 60
"""Seconds within which the whole body has to arrive."""
ASIDE = 256 * 1024
"""Bytes from which on a body is decoded in a thread, so that other requests go on."""

_ALIASES = {
    "application/x-yaml": "application/yaml",
    "text/yaml": "application/yaml",
    "text/x-yaml": "application/yaml",
}


async def read_request_body(route: Route, headers: Mapping[bytes, bytes], receive: Receive) -> Any:
    """The route's body: a struct of its type, a `Document`, or None where it takes none or may go without.

    Where none is taken, an empty JSON object is as good as none.
    """
    data = await _read(headers, receive)
    if route.body is None:
        # Many clients send an empty object with every POST.
        if data.strip() not in {b"", b"{}"}:
            raise InvalidRequest("this request takes no body")
        return None
    if not data and not route.body_required and b"content-type" not in headers:
        return None
    media_type = _media_type(route, headers)
    if not data.strip():
        if not route.body_required:
            return None
        raise MalformedDocument(f"the body is empty; send {' or '.join(route.media_types)}")
    if route.body is Document:
        return Document(data, media_type)
    if len(data) > ASIDE:
        return await asyncio.to_thread(decode_json, data, route.body)
    return decode_json(data, route.body)


def decode_json(data: bytes, type: Any) -> Any:
    """A value of the type; a byte order mark in front is accepted, as in flow documents.

    Raises MalformedDocument (with code, line and column) for what is no JSON or what readers read differently,
    InvalidRequest with everything that the type refuses.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        value = _decoder(type).decode(data)
    except msgspec.ValidationError as refusal:
        plain = parse_json(data, max_bytes=BODY_LIMIT)
        raise invalid_request(findings(type, plain, refusal)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parse_json(data, max_bytes=BODY_LIMIT)
        raise
    check_json(data)
    return value


@cache
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)


def _media_type(route: Route, headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"content-type", b"").decode("latin-1")
    name, _, parameters = given.partition(";")
    name = name.strip().lower()
    name = _ALIASES.get(name, name)
    expected = " or ".join(route.media_types)
    if name.endswith("+json") and JSON in route.media_types:
        name = JSON
    if name not in route.media_types:
        raise UnsupportedMediaType(
            f"Content-Type is {given[:100]!r}; send {expected}"
            if given
            else f"Content-Type is missing; send {expected}"
        )
    charset = re.search(r"charset\s*=\s*\"?([\w.-]+)", parameters, re.IGNORECASE)
    if charset is not None and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaType(f"the charset {charset[1][:40]} is not understood; send UTF-8")
    return name


async def _read(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding not in {"identity", "gzip", ""}:
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:40]!r} is not understood; send gzip or none")
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > BODY_LIMIT:
        # Who asks beforehand whether it may send has sent nothing yet.
        if int(announced) <= DISCARDED and b"expect" not in headers:
            await _discard(receive)
        raise _too_large()
    inflater = _Inflater() if encoding == "gzip" else None
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            data = await _read_all(inflater, receive)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {BODY_TIMEOUT_S} seconds") from None
    if inflater is not None:
        inflater.finish()
    return data


async def _discard(receive: Receive) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            while (await receive()).get("more_body", False):
                pass


async def _read_all(inflater: _Inflater | None, receive: Receive) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        piece: bytes = message["body"] if inflater is None else inflater.feed(message["body"])
        size += len(piece)
        if size > BODY_LIMIT:
            raise _too_large()
        pieces.append(piece)
        if not message["more_body"]:
            return piece if len(pieces) == 1 else b"".join(pieces)


class _Inflater:
    """Inflates gzip and stops at the limit, however small the bomb was."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)
        self._size = 0
        self._fed = False

    def feed(self, piece: bytes) -> bytes:
        self._fed = self._fed or bool(piece)
        if self._stream.eof and piece:
            raise _bad_gzip()
        try:
            data = self._stream.decompress(piece, BODY_LIMIT + 1 - self._size)
        except zlib.error:
            raise _bad_gzip() from None
        self._size += len(data)
        if self._size > BODY_LIMIT:
            raise _too_large()
        if self._stream.unused_data:
            raise _bad_gzip()
        return data

    def finish(self) -> None:
        if self._fed and not self._stream.eof:
            raise _bad_gzip()


def _bad_gzip() -> MalformedDocument:
    return MalformedDocument("the body is no gzip stream, or more than one, though Content-Encoding says gzip")


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {BODY_LIMIT} bytes (inflated)")
