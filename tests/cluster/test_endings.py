"""A process that is told to end while it starts leaves nothing open: uvloop would wait for ever for a connection."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import asyncpg
import msgspec
import pytest

from perdure.local import local_engine
from perdure.settings import ServerSettings
from perdure.store.postgres.url import parse_url
from tests.store.databases import fresh_url

PATIENCE_S = 30
_OURS = (
    "SELECT application_name FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'perdure%' AND application_name LIKE $1"
)


@pytest.mark.parametrize(
    "moment", ["perdure start", "perdure writer%", "perdure partitions", "perdure signals", "perdure pulse"]
)
async def test_an_engine_that_is_stopped_while_it_starts_closes_what_it_opened(tmp_path: Path, moment: str) -> None:
    url = fresh_url()
    settings = msgspec.structs.replace(ServerSettings(), home=tmp_path, store=url, pool_size=1)
    looking = await asyncpg.connect(parse_url(url).dsn)
    known = set(await looking.fetch("SELECT pid FROM pg_stat_activity"))
    threads = set(threading.enumerate())

    async def start() -> None:
        async with local_engine(settings):
            await asyncio.Event().wait()

    starting = asyncio.create_task(start())
    async with asyncio.timeout(PATIENCE_S):
        while not await looking.fetch(_OURS, moment) and not await looking.fetch(_OURS, "perdure pulse"):
            assert not starting.done()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(PATIENCE_S):
        # The server takes a moment to notice that nobody is there any more.
        while any(
            row not in known
            for row in await looking.fetch("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'perdure%'")
        ):
            pass
    await looking.close()
    assert not [one.name for one in set(threading.enumerate()) - threads if one.name.startswith("perdure")]
