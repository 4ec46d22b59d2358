"""Bodies that are sent in pieces, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from perdure.api.answer import Receive, Send, disconnected

STALL_S = 60
"""How long a reader may stand still before it is cut off."""


async def send_pieces(pieces: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Until the last one, or until the reader is gone. Raises TimeoutError for one that stands still."""
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        async for piece in pieces:
            if gone.done():
                return
            async with asyncio.timeout(STALL_S):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        gone.cancel()
