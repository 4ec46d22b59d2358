"""Reading a response's body within a bound, compressed or not."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable
from typing import Protocol

import msgspec

from perdure.base.codec import Json, decode
from perdure.base.texts import recordable

_MAGIC = b"\x1f\x8b"


class BodyTooLarge(Exception):
    """More bytes came than are allowed, counted after inflating."""


class BodyUnreadable(Exception):
    """An encoding that was not asked for, or damaged data."""


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


async def read_body(chunks: AsyncIterable[bytes], *, encoding: str, limit: int) -> bytes:
    """All of it. Raises BodyTooLarge as soon as the limit is passed, BodyUnreadable."""
    body = bytearray()
    inflater = _inflater(encoding)
    if inflater is None:
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                raise BodyTooLarge
        return bytes(body)
    is_begun = False
    async for chunk in chunks:
        is_begun = is_begun or bool(chunk)
        try:
            # One byte of room more than is allowed: enough to see that there is too much.
            body += inflater.decompress(chunk, limit - len(body) + 1)
            # RFC 1952: a file is one member after the other.
            while inflater.eof and inflater.unused_data.startswith(_MAGIC) and len(body) <= limit:
                rest, inflater = inflater.unused_data, _gunzip()
                body += inflater.decompress(rest, limit - len(body) + 1)
        except zlib.error as error:
            raise BodyUnreadable(f"the body is no valid {encoding}: {error}") from None
        if len(body) > limit:
            raise BodyTooLarge
        if inflater.eof and len(inflater.unused_data) >= len(_MAGIC):
            break
    if is_begun and not inflater.eof:
        raise BodyUnreadable(f"the body ends in the middle of its {encoding}")
    return bytes(body)


def body_text(body: bytes, content_type: str) -> str:
    """Decoded by the charset that the content type names, else UTF-8; what is invalid is replaced."""
    _, _, charset = content_type.lower().partition("charset=")
    try:
        return recordable(body.decode(charset.partition(";")[0].strip(" \"'") or "utf-8", errors="replace"))
    except (LookupError, ValueError):
        # Python knows codecs that take no `replace`, and one that fails whatever it is given.
        return body.decode(errors="replace")


def body_json(body: bytes, content_type: str) -> Json:
    """What the body parses to where it calls itself JSON or plain text, else None."""
    media = content_type.partition(";")[0].strip().lower()
    if not (media in {"", "text/plain"} or media.endswith(("/json", "+json"))):
        return None
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _inflater(encoding: str) -> _Inflater | None:
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return None
    if name in {"gzip", "x-gzip"}:
        return _gunzip()
    raise BodyUnreadable(f"the body is encoded as {name!r}, which was not asked for")


def _gunzip() -> _Inflater:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)
