"""Bodies that are sent in pieces, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from perdure.api.answer import Receive, Send, disconnected

STALL_S = 60
"""How long a reader may stand still before it is cut off."""


async def send_pieces(pieces: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Until the last one, or until the reader is gone: then the next is not waited for, which may have to be looked for.

    Raises TimeoutError for a reader that stands still.
    """
    gone = asyncio.ensure_future(disconnected(receive))
    sending = asyncio.ensure_future(_send(pieces, send))
    try:
        await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        gone.cancel()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(pieces: AsyncIterator[bytes], send: Send) -> None:
    async for piece in pieces:
        async with asyncio.timeout(STALL_S):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
