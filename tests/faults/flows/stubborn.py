"""Nodes that will not be stopped. Each tells that it still lives by a line every few milliseconds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

from effects import PLACE, effect  # type: ignore[import-not-found]  # found beside it, in the flow folder

from perdure import context

_TICK_S = 0.02


def _ignore_all() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def catch_everything() -> None:
    """A process that ignores signals and swallows whatever is thrown into it."""
    effect()
    try:
        _ignore_all()
    except ValueError:
        effect("not the main thread")
    while True:
        try:
            time.sleep(_TICK_S)
            effect("alive")
        except BaseException:
            effect("caught")


async def catch_everything_inline() -> None:
    """A coroutine that swallows its cancellation, for twenty seconds."""
    effect()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            await asyncio.sleep(_TICK_S)
        except BaseException:
            effect("caught")


def in_thread(gate: str) -> None:
    """A thread cannot be killed; this one swallows whatever is thrown into it, and ends once the gate is there."""
    effect()
    while not (PLACE / gate).exists():
        try:
            time.sleep(_TICK_S)
        except BaseException:
            effect("caught")
    effect("end")


_GRANDCHILD = (
    "import os, signal, sys, time\n"
    "sys.path.insert(0, sys.argv[1])\n"
    "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n"
    "text = open('/proc/self/stat', 'rb').read()\n"
    "started = int(text[text.rindex(b')') + 2 :].split()[19])\n"
    "open(sys.argv[2], 'a').write(f'{os.getpid()} {started}\\n')\n"
    "while True: time.sleep(1)\n"
)


def with_grandchild(name: str) -> None:
    """Starts a process in a session of its own, and waits for ever."""
    effect()
    subprocess.Popen(
        [sys.executable, "-c", _GRANDCHILD, str(PLACE / "flows"), str(PLACE / name)], start_new_session=True
    )
    _ignore_all()
    while True:
        time.sleep(_TICK_S)


def daemonize(name: str) -> None:
    """A double fork, the classical way to get away; then waits for ever."""
    effect()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.execv(sys.executable, [sys.executable, "-c", _GRANDCHILD, str(PLACE / "flows"), str(PLACE / name)])
    os.waitpid(child, 0)
    while True:
        time.sleep(_TICK_S)


def daemonize_and_end(name: str) -> str:
    """Leaves a daemon behind and ends well."""
    effect()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.execv(sys.executable, [sys.executable, "-c", _GRANDCHILD, str(PLACE / "flows"), str(PLACE / name)])
    os.waitpid(child, 0)
    while not (PLACE / name).exists():
        time.sleep(_TICK_S)
    effect("end")
    return name


def hang_once() -> int:
    """Its first attempt ignores everything; later ones end at once."""
    effect()
    if context().attempt > 1:
        effect("end")
        return context().attempt
    _ignore_all()
    while True:
        time.sleep(_TICK_S)
        effect("alive")
