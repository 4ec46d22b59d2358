"""Hints between processes by NOTIFY and LISTEN, on one connection beside those that read and write.

Hints are gathered and sent once in a hundredth of a second at most, in transactions of their own: PostgreSQL lets
transactions that notify commit one after the other, which must not be those that write. Whatever comes back, our
own or others', shows that the ear still works; when nothing does for a while, one sends a sign, and
where even that does not come back the connection is made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import structlog

from perdure.base.backoff import Backoff
from perdure.errors import StoreError
from perdure.store.postgres.calls import Calls
from perdure.store.postgres.connection import WRITING, Connection, connect
from perdure.store.postgres.failures import translated
from perdure.store.postgres.url import Address
from perdure.store.sharing import Hint

APART_S = 0.010
"""Between two sendings of a process."""
SIGN_AFTER_S = 4.0
"""Of silence."""
PATIENCE_S = 3.0
"""For an answer, and for a sign to come back."""
MOST_BYTES = 7_900
"""Of a payload; PostgreSQL takes less than 8,000."""
MOST_PENDING = 5_000

_SETTINGS = WRITING | {"synchronous_commit": "off"}

log = structlog.get_logger(__name__)


class _Payload(msgspec.Struct, omit_defaults=True, rename=lambda name: name[0]):
    """On its way: short names, ids in hex."""

    sender: str
    inboxes: dict[str, list[str]] = {}
    """Executions by worker."""
    lines: list[str] = []
    feed: list[tuple[int, int]] = []
    follows: bool | None = msgspec.field(default=None, name="w")
    everything: bool = False


_decoder = msgspec.json.Decoder(_Payload)


class PostgresSignals:
    """`perdure.store.interface.Signals`; used from one event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._channel = f"perdure.{address.schema}"
        self._calls = Calls(address, _SETTINGS, "notify")
        self._me = secrets.token_hex(6)
        self._heard: Callable[[Hint], None] | None = None
        self._heard_at = 0.0
        self._pending = _Pending()
        self._wanted = asyncio.Event()
        self._said = asyncio.Event()
        self._said.set()
        self._task: asyncio.Task[None] | None = None
        self._live = False

    @property
    def is_live(self) -> bool:
        return self._live

    async def start(self, heard: Callable[[Hint], None]) -> None:
        self._heard = heard
        if self._address.listen:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="perdure-signals")

    def send(self, hint: Hint) -> None:
        if self._task is not None:
            self._pending.add(hint)
            self._said.clear()
            self._wanted.set()

    async def close(self) -> None:
        """What is still to be sent is sent, if that is quick."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._said.wait()
        self._task.cancel()
        await asyncio.wait({self._task})
        self._task = None

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                connection = await connect(self._address, _SETTINGS, name="perdure signals")
                try:
                    await self._listen(connection)
                    backoff.reset()
                    await self._exchange(connection)
                finally:
                    self._live = False
                    connection.terminate()
            except Exception as error:
                known = translated(error, self._address.place)
                if not isinstance(known, StoreError):
                    log.exception("signals from other processes failed")
                else:
                    log.warning("no signals from other processes: looking for work instead", detail=known.message)
            await asyncio.sleep(backoff.pause_s())

    async def _listen(self, connection: Any) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await connection.add_listener(self._channel, self._take)
        self._heard_at = time.monotonic()
        self._live = True
        # What was said before is lost.
        self._tell(Hint(everything=True))

    async def _exchange(self, connection: Connection) -> None:
        """Send what is wanted, and a sign where nothing is heard. Raises what shows that the connection is dead."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SIGN_AFTER_S / 4 * random.uniform(0.8, 1.2)):
                    await self._wanted.wait()
            silent_s = time.monotonic() - self._heard_at
            if connection.is_closed():
                raise ConnectionError("the connection was closed")
            if silent_s > SIGN_AFTER_S + PATIENCE_S:
                raise TimeoutError("nothing is heard any more")
            self._wanted.clear()
            payloads = self._pending.take(self._me)
            if not payloads and silent_s > SIGN_AFTER_S:
                payloads = [_encoded(_Payload(self._me))]
            if payloads:
                async with asyncio.timeout(PATIENCE_S):
                    await self._calls.fetch(connection, "notify", channel=self._channel, payloads=payloads)
                if not self._pending.is_full():
                    self._said.set()
                await asyncio.sleep(APART_S)

    def _take(self, _connection: Any, _pid: int, _channel: str, text: str) -> None:
        self._heard_at = time.monotonic()
        try:
            payload = _decoder.decode(text)
        except msgspec.DecodeError:
            # A newer version's words, perhaps.
            self._tell(Hint(everything=True))
            return
        if payload.sender != self._me:
            self._tell(_hint_of(payload))

    def _tell(self, hint: Hint) -> None:
        if self._heard is not None:
            try:
                self._heard(hint)
            except Exception:
                log.exception("a hint could not be taken")


class _Pending:
    """What is to be said, each thing once."""

    def __init__(self) -> None:
        self._deliveries: dict[tuple[str, bytes], None] = {}
        self._lines: dict[str, None] = {}
        self._feed: dict[int, int] = {}
        self._follows: bool | None = None
        self._everything = False

    def is_full(self) -> bool:
        says = self._deliveries or self._lines or self._feed or self._everything
        return bool(says) or self._follows is not None

    def add(self, hint: Hint) -> None:
        self._deliveries |= dict.fromkeys(hint.deliveries)
        self._lines |= dict.fromkeys(hint.lines)
        for writer, n in hint.feed.items():
            self._feed[writer] = max(n, self._feed.get(writer, 0))
        if hint.follows is not None:
            self._follows = hint.follows
        self._everything |= hint.everything
        if len(self._deliveries) + len(self._lines) > MOST_PENDING:
            self._deliveries, self._lines, self._everything = {}, {}, True

    def take(self, sender: str) -> list[str]:
        """As payloads, each short enough."""
        if not self.is_full():
            return []
        whole = _Payload(sender, feed=[*self._feed.items()], follows=self._follows, everything=self._everything)
        deliveries, lines = [*self._deliveries], [*self._lines]
        self._deliveries, self._lines, self._feed = {}, {}, {}
        self._follows, self._everything = None, False
        if not whole.everything:
            for worker, id_ in deliveries:
                whole.inboxes.setdefault(worker, []).append(id_.hex())
            whole.lines = lines
        return [_encoded(part) for part in _parts(whole)]


def _parts(payload: _Payload) -> Iterator[_Payload]:
    """It, or its halves and their halves; what no halving makes short enough becomes a hint to look at everything."""
    if len(_encoded(payload).encode()) <= MOST_BYTES:
        yield payload
        return
    pairs = [(worker, id_) for worker, ids in payload.inboxes.items() for id_ in ids]
    if len(pairs) + len(payload.lines) < 2:
        yield _Payload(payload.sender, everything=True)
        return
    for half in (slice(None, None, 2), slice(1, None, 2)):
        part = _Payload(payload.sender, feed=payload.feed, follows=payload.follows, lines=payload.lines[half])
        for worker, id_ in pairs[half]:
            part.inboxes.setdefault(worker, []).append(id_)
        yield from _parts(part)


def _encoded(payload: _Payload) -> str:
    return msgspec.json.encode(payload).decode()


def _hint_of(payload: _Payload) -> Hint:
    return Hint(
        deliveries=[(worker, bytes.fromhex(id_)) for worker, ids in payload.inboxes.items() for id_ in ids],
        lines=payload.lines,
        feed=dict(payload.feed),
        follows=payload.follows,
        everything=payload.everything,
    )
