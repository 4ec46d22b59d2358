"""A server that answers by a script: what it is asked it notes, what it answers stands in a list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

DROP = b""
"""An answer that is none: the connection is closed."""


class Asked(msgspec.Struct):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """`url`, and `asked`: every request so far."""

    def __init__(self, answers: Iterable[bytes]) -> None:
        self._answers = iter(answers)
        self.asked: list[Asked] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                method, path, _ = first.split(" ")
                self.asked.append(Asked(method, path, headers, body))
                answer = next(self._answers)
                if answer == DROP:
                    break
                writer.write(answer)
                await writer.drain()
                if b"event-stream" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[ScriptedServer]:
    """A server that gives these answers, one for each request."""
    script = ScriptedServer(answers)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield script


def json_answer(value: object, status: int = 200, **headers: str) -> bytes:
    body = msgspec.json.encode(value)
    kind = "application/problem+json" if status >= 400 else "application/json"
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def stream_answer(text: str) -> bytes:
    """An event stream that breaks off behind `text`."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + text.encode()


def problem(status: int, code: str, **headers: str) -> bytes:
    return json_answer({"title": code, "status": status, "detail": f"it is {code}", "code": code}, status, **headers)
