"""The HTTP server without perdure: what is measured is uvicorn, Starlette and a fixed JSON answer."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_BODY = b'{"id":"0199f0a2-0000-7000-8000-000000000000","status":"completed","output":{}}'


async def _answer(request: Request) -> Response:
    await request.body()
    return Response(_BODY, media_type="application/json")


async def _ready(_request: Request) -> Response:
    return Response(b"{}", media_type="application/json")


def main(port: int) -> None:
    """Serve until told to stop, set up as `perdure serve` sets its server up."""
    app = Starlette(routes=[Route("/", _answer, methods=["POST"]), Route("/health/ready", _ready)])
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, log_level="warning", server_header=False, proxy_headers=False,
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]))
