"""What the engine and a pool process say to each other: frames of four bytes of length and JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.base.codec import VALUE_LIMIT
from perdure.model.failure import Failure
from perdure.nodes.authoring import Context

MAX_FRAME = 4 * VALUE_LIMIT
"""Bytes; a longer one means that somebody else writes into the socket."""


class Setup(msgspec.Struct, tag="setup", frozen=True):
    """First word of the engine: where to import from, in this order, and where artifacts go."""

    folders: list[str]
    sys_path: list[str]
    artifacts: str


class Inspect(msgspec.Struct, tag="inspect", frozen=True):
    target: str


class Run(msgspec.Struct, tag="run", frozen=True):
    target: str
    arguments: dict[str, Any]
    context: Context


class Ready(msgspec.Struct, tag="ready", frozen=True):
    pass


class Inspected(msgspec.Struct, tag="inspected", frozen=True):
    """What kind of function it is, and which files of the flow folders are imported now (with mtimes in ns).

    `file` is the function's own module, None when that is not in a flow folder.
    """

    kind: str
    file: str | None
    sources: dict[str, int]


class Lines(msgspec.Struct, tag="lines", frozen=True):
    """`at`: microseconds of `boot_time`."""

    stream: str
    lines: list[str]
    at: int


class Record(msgspec.Struct, tag="record", frozen=True):
    level: str
    message: str
    at: int


class Progress(msgspec.Struct, tag="progress", frozen=True):
    fraction: float | None
    message: str | None


class ArtifactStored(msgspec.Struct, tag="artifact", frozen=True):
    name: str
    media_type: str
    size_bytes: int
    sha256: str


class Done(msgspec.Struct, tag="done", frozen=True):
    """`is_clean`: nothing of the attempt is left in the process, so it may run the next one."""

    output: Any
    is_clean: bool


class Failed(msgspec.Struct, tag="failed", frozen=True):
    failure: Failure
    is_clean: bool


FromEngine = Setup | Inspect | Run
FromWorker = Ready | Inspected | Lines | Record | Progress | ArtifactStored | Done | Failed

_encoder = msgspec.json.Encoder()
from_engine: msgspec.json.Decoder[FromEngine] = msgspec.json.Decoder(FromEngine)
from_worker: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)


def frame(message: FromEngine | FromWorker) -> bytes:
    data = _encoder.encode(message)
    return len(data).to_bytes(4, "little") + data
