"""A running server with a few flows, and short ways to ask it for things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2

from perdure.server import Server
from perdure.settings import ServerSettings

API = "/api/v1"
FOLDER = Path(__file__).parent / "flows"

QUICK: dict[str, Any] = {
    "id": "api/quick",
    "description": "Doubles a number.",
    "input": {"n": {"type": "integer", "minimum": 0, "default": 1}},
    "nodes": {
        "double": {"transform": "${input.n * 2}", "description": "Twice n."},
        "again": {"transform": "${nodes.double.output + 1}"},
    },
    "output": "${nodes.again.output}",
}
SLOW: dict[str, Any] = {"id": "api/slow", "nodes": {"rest": {"sleep": "1h"}}}
FILES: dict[str, Any] = {
    "id": "api/files",
    "nodes": {
        "write": {
            "shell": 'echo first; echo second; echo oops >&2; printf content > "$PERDURE_ARTIFACTS/report.txt"; '
            'printf "<script>" > "$PERDURE_ARTIFACTS/page.html"'
        }
    },
}
FAILS: dict[str, Any] = {"id": "api/fails", "nodes": {"no": {"fail": {"message": "as it was told"}}}}
LIMITED: dict[str, Any] = {
    "id": "api/limited",
    "concurrency": {"limit": 1, "on_limit": "reject"},
    "nodes": {"rest": {"sleep": "1h"}},
}
EACH: dict[str, Any] = {
    "id": "api/each",
    "input": {"items": {"type": "array"}},
    "nodes": {"item": {"transform": "${item}", "foreach": "${input.items}"}},
    "output": "${nodes.item.output}",
}
FLOWS = (QUICK, SLOW, FILES, FAILS, LIMITED, EACH)


class World:
    """`http` is a client of the server that sends and expects JSON; paths are below /api/v1 unless they begin with `//`."""

    def __init__(self, server: Server, http: httpx2.AsyncClient) -> None:
        self.server = server
        self.http = http

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        """One request; `body` goes as JSON, unless `content` is given."""
        url = path[1:] if path.startswith("//") else f"{API}{path}"
        if body is not None:
            more["content"] = json.dumps(body)
            more["headers"] = {"content-type": "application/json", **more.get("headers", {})}
        return await self.http.request(method, url, **more)

    async def put(self, flow: dict[str, Any]) -> None:
        response = await self.ask("PUT", f"/flows/{flow['id']}", flow)
        assert response.status_code in {200, 201}, response.text

    async def start(self, flow: str, input: Any = None, *, wait_s: int = 0, **fields: Any) -> dict[str, Any]:
        """The execution as the start answered."""
        headers = {"prefer": f"wait={wait_s}"} if wait_s else {}
        body = {"flow": flow, **({} if input is None else {"input": input}), **fields}
        response = await self.ask("POST", "/executions", body, headers=headers)
        assert response.status_code in {200, 202}, response.text
        found: dict[str, Any] = response.json()
        return found

    async def finished(self, flow: str, input: Any = None, **fields: Any) -> dict[str, Any]:
        found = await self.start(flow, input, wait_s=30, **fields)
        assert found["finished_at"] is not None, found
        return found


def settings(home: Path, **more: Any) -> ServerSettings:
    return ServerSettings(**{"home": home, "port": 0, "pool_size": 1, "drain": 0, "flows": [FOLDER], **more})


async def furnish(world: World) -> None:
    for flow in FLOWS:
        await world.put(flow)
