"""Bodies that are sent in pieces: what is read for a reader ends with him."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from perdure.api.pieces import send_pieces


async def test_nothing_more_is_looked_for_when_the_reader_is_gone() -> None:
    looking, ended = asyncio.Event(), asyncio.Event()
    sent: list[bytes] = []

    async def pieces() -> AsyncGenerator[bytes]:
        try:
            yield b"first"
            looking.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def receive() -> dict[str, Any]:
        await looking.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message["body"])

    async with asyncio.timeout(10), aclosing(pieces()) as source:
        await send_pieces(source, receive, send)
        assert (sent, ended.is_set()) == ([b"first"], True)
