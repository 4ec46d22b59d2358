"""JSON values on their way into rows and back: inline up to 64 KiB, else content-addressed blobs."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from perdure.base.codec import (
    DEPTH_LIMIT,
    INLINE_LIMIT,
    VALUE_LIMIT,
    Json,
    decode,
    encode,
    holds_non_finite,
    is_too_deep,
)
from perdure.model.failure import Failure
from perdure.store.records import Value

NULL = Value(text="null", size=4)


class BlobStorage(Protocol):
    """What keeps large values: `perdure.artifacts`."""

    async def put_bytes(self, data: bytes) -> Any: ...
    async def read(self, sha256: bytes) -> bytes: ...


class ValueRefused(Exception):
    """A value that cannot be recorded; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def to_json(value: Any, what: str) -> bytes:
    """The value as JSON. Raises `ValueRefused` where it is none, over `VALUE_LIMIT` or deeper than `DEPTH_LIMIT`."""
    try:
        data = encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError, msgspec.EncodeError) as error:
        message = f"{what} is no JSON value: {error or type(error).__name__}"
        raise ValueRefused(Failure(code="invalid_output", message=message, retryable=False)) from None
    if holds_non_finite(value, data):
        message = f"{what} holds NaN or an infinity, which JSON cannot express"
        raise ValueRefused(Failure(code="invalid_output", message=message, retryable=False))
    if len(data) > VALUE_LIMIT:
        message = f"{what} has {len(data)} bytes as JSON, the limit is {VALUE_LIMIT}; publish it as an artifact instead"
        raise ValueRefused(Failure(code="limit_exceeded", message=message, retryable=False))
    if is_too_deep(data):
        message = f"{what} is nested deeper than {DEPTH_LIMIT} levels"
        raise ValueRefused(Failure(code="limit_exceeded", message=message, retryable=False))
    return data


class Values:
    """Rows' values of one engine."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def store(self, data: bytes) -> Value:
        """At rest, durably: a blob is on disk when this returns."""
        if len(data) <= INLINE_LIMIT:
            return inline(data)
        stored = await self._storage.put_bytes(data)
        return Value(blob=stored.sha256, size=len(data))

    async def text(self, value: Value | None) -> str | None:
        if value is None:
            return None
        if value.blob is not None:
            return (await self._storage.read(value.blob)).decode()
        return value.text

    async def load(self, value: Value | None) -> Json:
        text = await self.text(value)
        return None if text is None else decode(text)


def inline(data: bytes) -> Value:
    return Value(text=data.decode(), size=len(data))
