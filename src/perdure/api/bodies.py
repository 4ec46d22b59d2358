"""Reading request bodies: bounded while they come in, refused by name and place when they are not what was asked for."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from perdure.api.answer import Receive
from perdure.api.findings import findings, refusal_problem
from perdure.api.route import JSON, Document, Route
from perdure.errors import (
    InvalidRequest,
    MalformedDocument,
    PayloadTooLarge,
    Problem,
    RequestTimeout,
    UnsupportedMediaType,
)

BODY_LIMIT = 10 * 1024 * 1024
"""Bytes that a request's body may have, inflated."""
BODY_TIMEOUT_S = 60
"""Seconds within which the whole body has to arrive."""
ASIDE = 256 * 1024
"""Bytes from which on a body is decoded in a thread, so that other requests go on."""

_BYTE = re.compile(r" \(byte (\d+)\)$")
_ALIASES = {
    "application/x-yaml": "application/yaml",
    "text/yaml": "application/yaml",
    "text/x-yaml": "application/yaml",
}


class ClientGone(Exception):
    """The client went away before its request was complete; nobody waits for an answer."""


async def read_request_body(route: Route, headers: Mapping[bytes, bytes], receive: Receive) -> Any:
    """The route's body: a struct of its type, a `Document`, or None where it takes none or may go without."""
    data = await _read(headers, receive)
    if route.body is None:
        if data:
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
    """A value of the type.

    Raises MalformedDocument (with line and column) when it is no JSON or has a key twice,
    InvalidRequest with everything that the type refuses.
    """
    try:
        value = _decoder(type).decode(data)
    except msgspec.ValidationError as refusal:
        raise InvalidRequest(
            "the request is not valid", problems=findings(type, _plain(data, refusal), refusal)
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(data, error) from None
    _refuse_doubles(data)
    return value


def line_and_column(data: bytes, offset: int) -> tuple[int, int]:
    """Both from 1; the column counts characters."""
    before = data[:offset]
    line_start = before.rfind(b"\n") + 1
    return before.count(b"\n") + 1, len(before[line_start:].decode("utf-8", "replace")) + 1


@cache
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)


def _plain(data: bytes, refusal: msgspec.ValidationError) -> Any:
    """The document without its type, to find everything that is wrong with it."""
    try:
        value = msgspec.json.decode(data)
    except msgspec.ValidationError:  # a number that no double can hold
        raise InvalidRequest("the request is not valid", problems=(refusal_problem(refusal),)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(data, error) from None
    _refuse_doubles(data)
    return value


def _malformed(data: bytes, error: Exception) -> MalformedDocument:
    if isinstance(error, RecursionError):
        return MalformedDocument("the JSON is nested too deeply", problems=(Problem("too_deep", "nested too deeply"),))
    if isinstance(error, UnicodeDecodeError):
        # msgspec counts from the start of the text that it was reading: find the place in the whole.
        offset, what = _first_non_utf8(data), "not UTF-8"
    else:
        what = str(error)
        match = _BYTE.search(what)
        offset = int(match[1]) if match else len(data)
        if "trailing characters" in what:
            offset -= 1  # there msgspec counts the character that it has already read
        what = what[: match.start()] if match else what
    if data.startswith(b"\xef\xbb\xbf"):
        what = "JSON does not begin with a byte order mark"
    line, column = line_and_column(data, offset)
    problem = Problem("syntax", what, line=line, column=column)
    return MalformedDocument(f"{what} at line {line}, column {column}", problems=(problem,))


def _first_non_utf8(data: bytes) -> int:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(data)


class _DoubleKey(ValueError):
    """A key that stands in one object twice."""


def _refuse_doubles(data: bytes) -> None:
    """Raises MalformedDocument when an object has a key twice: readers disagree which of them counts."""
    try:
        _PAIRS.decode(data.decode())
    except _DoubleKey as error:
        name = str(error)
        problem = Problem("duplicate_key", f"the key {json.dumps(name)} stands in one object twice")
        raise MalformedDocument(problem.detail, problems=(problem,)) from None
    except (ValueError, RecursionError) as error:
        raise MalformedDocument(f"the JSON cannot be read: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen = {key for key, _ in pairs}
    if len(seen) != len(pairs):
        for key, _ in pairs:
            if key not in seen:
                raise _DoubleKey(key)
            seen.discard(key)


_PAIRS = json.JSONDecoder(object_pairs_hook=_unique)


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
        raise _too_large()
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    data: bytes = message["body"]
    inflater = _Inflater() if encoding == "gzip" else None
    if inflater is not None:
        data = inflater.feed(data)
    if len(data) > BODY_LIMIT:
        raise _too_large()
    if message["more_body"]:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                data = await _read_on(data, inflater, receive)
        except TimeoutError:
            raise RequestTimeout(f"the body did not arrive within {BODY_TIMEOUT_S} seconds") from None
    if inflater is not None:
        inflater.finish()
    return data


async def _read_on(data: bytes, inflater: _Inflater | None, receive: Receive) -> bytes:
    pieces = [data]
    size = len(data)
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        piece = message["body"] if inflater is None else inflater.feed(message["body"])
        size += len(piece)
        if size > BODY_LIMIT:
            raise _too_large()
        pieces.append(piece)
        if not message["more_body"]:
            return b"".join(pieces)


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
