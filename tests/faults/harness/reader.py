"""A process that reads one stream through a small buffer, notes what came, and takes the stream up where it broke.

    python reader.py sse|ws URLS SUBSCRIPTION NOTES

URLS is a file with a server's address in each line: after a break the next one is asked. SUBSCRIPTION is that of a
WebSocket, as JSON; as SSE its `execution` alone counts. NOTES gets a line of JSON for whatever came. It imports nothing
of the project, so that it is soon there.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

API = "/api/v1"
BUFFER = 4096
TIMEOUT_S = 20.0
PAUSE_S = 0.2
TEXT, CONTINUATION, CLOSE, PING, PONG = 1, 0, 8, 9, 10

Message = dict[str, Any]


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.settimeout(TIMEOUT_S)
    made.connect((parts.hostname, parts.port))
    return made


def server_sent(url: str, subscription: Message) -> Iterator[Message]:
    """Messages as a WebSocket would send them."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.sock = connected(url)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": subscription.get("after") or "0"}
    connection.request("GET", f"{API}/executions/{subscription['execution']}/events", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    yield {"type": "connected", "url": url, "port": connection.sock.getsockname()[1]}
    name = "event"
    while True:
        line = answer.readline()
        if not line:
            return
        field, _, value = line.rstrip(b"\r\n").partition(b": ")
        if field == b"event":
            name = value.decode()
        elif field == b"data" and name in {"end", "reset"}:
            yield {"type": name}
        elif field == b"data":
            yield {"type": "event", "event": json.loads(value)}
        elif not field:
            name = "event"


def web_socket(url: str, subscription: Message) -> Iterator[Message]:
    made = connected(url)
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(
        f"GET {API}/ws HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    stream = made.makefile("rb", buffering=BUFFER)
    assert b"101" in stream.readline()
    while stream.readline().strip():
        pass
    yield {"type": "connected", "url": url, "port": made.getsockname()[1]}
    made.sendall(frame(TEXT, json.dumps({"type": "subscribe", "id": "a", **subscription}).encode()))
    text = b""
    while True:
        head = stream.read(2)
        if len(head) < 2:
            return
        kind, size = head[0] & 0x0F, head[1] & 0x7F
        if size > 125:
            size = int.from_bytes(stream.read(2 if size == 126 else 8))
        payload = stream.read(size)
        if kind == CLOSE:
            return
        if kind == PING:
            made.sendall(frame(PONG, payload))
        elif kind in {TEXT, CONTINUATION}:
            text += payload
            if head[0] & 0x80:
                yield json.loads(text)
                text = b""


def frame(kind: int, payload: bytes) -> bytes:
    """One frame of a client (RFC 6455, 5.2), masked by zeros."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + len(payload).to_bytes(2)
    return bytes([0x80 | kind]) + size + bytes(4) + payload


def main(kind: str, urls: Path, subscription: Message, notes: Path) -> None:
    read = {"sse": server_sent, "ws": web_socket}[kind]
    turn = 0
    with notes.open("a", buffering=1) as file:
        while True:
            known = urls.read_text().split()
            try:
                for message in read(known[turn % len(known)], subscription):
                    cursor = message.get("event", message).get("cursor")
                    if cursor is not None:
                        subscription["after"] = cursor
                    file.write(json.dumps(message) + "\n")
                    if message["type"] == "end":
                        return
            except (OSError, http.client.HTTPException) as error:
                file.write(json.dumps({"type": "broke", "why": repr(error)}) + "\n")
            turn += 1
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), Path(sys.argv[4]))
