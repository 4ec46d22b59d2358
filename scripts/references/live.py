"""The made parts of `docs/reference/websocket.md`, from the types of its messages."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from perdure.wire.live import ClientMessage, ServerMessage
from scripts.references.regions import Maker


def _schema(type: Any) -> str:
    return f"```json\n{json.dumps(msgspec.json.schema(type), indent=1, ensure_ascii=False)}\n```"


MAKERS: dict[str, Maker] = {
    "live-client": lambda: _schema(ClientMessage),
    "live-server": lambda: _schema(ServerMessage),
}
