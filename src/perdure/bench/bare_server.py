"""The HTTP server without perdure: what is measured is uvicorn and a fixed JSON answer."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

_BODY = b'{"id":"0199f0a2-0000-7000-8000-000000000000","status":"completed","output":{}}'
_KNOWN = {("POST", "/"), ("GET", "/health/ready")}

Message = MutableMapping[str, Any]


async def answer(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """An ASGI application that reads the body and answers what it knows always the same."""
    while (await receive()).get("more_body"):
        pass
    status, body = (200, _BODY) if (scope["method"], scope["path"]) in _KNOWN else (404, b"{}")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(port: int) -> None:
    """Serve until told to stop, set up as `perdure serve` sets its server up."""
    uvicorn.run(
        answer, host="127.0.0.1", port=port, loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, log_level="warning", server_header=False, proxy_headers=False,
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]))
