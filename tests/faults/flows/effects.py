"""What the nodes of the fault scenes do: every side effect becomes a line of the ledger beside the flows' folder."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

from perdure import artifact, context

PLACE = Path(__file__).parents[1]
LEDGER = PLACE / "effects.jsonl"
_started = 0, 0


def effect(kind: str = "begin") -> None:
    """One line, one write: it is there as a whole, or not at all."""
    where = context()
    line = {
        "execution": where.execution_id,
        "node": where.node,
        "ordinal": where.ordinal,
        "label": where.label,
        "attempt": where.attempt,
        "epoch": int(where.attempt_id.rpartition(".")[2]),
        "kind": kind,
        "pid": os.getpid(),
        "started": started(),
        "at": time.time_ns() // 1000,
    }
    write(line)


def write(line: dict[str, object]) -> None:
    file = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


def started() -> int:
    """This process's start time in clock ticks since boot."""
    global _started
    if _started[0] != os.getpid():
        text = Path("/proc/self/stat").read_bytes()
        _started = os.getpid(), int(text[text.rindex(b")") + 2 :].split()[19])
    return _started[1]


async def touch(value: object = None) -> object:
    """Inline, over at once."""
    effect()
    effect("end")
    return value


async def breathe(value: object = None) -> object:
    """Inline, with a turn of the loop between beginning and end."""
    effect()
    await asyncio.sleep(0.005)
    effect("end")
    return value


def work(value: object = None) -> object:
    """In a process."""
    effect()
    effect("end")
    return value


class Unlucky(Exception):
    """What a flaky node raises."""


async def flaky(failures: int) -> int:
    """Fails in its first attempts."""
    effect()
    effect("end")
    if context().attempt <= failures:
        raise Unlucky(f"attempt {context().attempt}")
    return context().attempt


def hold(gate: str) -> str:
    """In a process: until somebody touches the gate."""
    effect()
    while not (PLACE / gate).exists():
        time.sleep(0.01)
    effect("end")
    return gate


async def hold_inline(gate: str) -> str:
    effect()
    while not (PLACE / gate).exists():  # noqa: ASYNC110 (another process makes it)
        await asyncio.sleep(0.01)
    effect("end")
    return gate


def tick(gate: str) -> str:
    """In a process: an effect every moment, until somebody touches the gate."""
    effect()
    while not (PLACE / gate).exists():
        effect("alive")
        time.sleep(0.05)
    effect("end")
    return gate


async def tick_inline(gate: str) -> str:
    effect()
    while not (PLACE / gate).exists():
        effect("alive")
        await asyncio.sleep(0.05)
    effect("end")
    return gate


def echo(value: object = None) -> object:
    return value


async def echo_nul() -> str:
    effect()
    effect("end")
    return "a\x00b"


async def babble(lines: int, width: int) -> int:
    """Many log lines, as fast as they are taken."""
    effect()
    for number in range(lines):
        print(f"{number:08d}".ljust(width, "."))
        if number % 100 == 0:
            await asyncio.sleep(0)
    effect("end")
    return lines


def publish(size: int) -> str:
    """An artifact of so many bytes."""
    effect()
    digest = artifact(os.urandom(size), "blob.bin").sha256
    effect("end")
    return digest


def big(size: int) -> str:
    """An output that is kept as a blob."""
    effect()
    effect("end")
    return os.urandom(size // 2).hex()
