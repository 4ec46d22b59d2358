"""A worker that a newer schema does not let in again ends its tries, and says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import structlog

from perdure.base.clock import SystemClock
from perdure.engine.membership import FORBIDDEN, Membership
from perdure.engine.settings import EngineSettings
from perdure.store.recorder import Recorder
from tests.store.databases import SCHEMA, base_url, fresh_url, opened

FORBID = """
INSERT INTO schema_migrations (number, name, program, usable_since)
SELECT max(number) + 1, 'later', '99.0', max(number) + 1 FROM schema_migrations
"""
FENCE = "UPDATE writers SET session = session + 1"
ALLOW = "DELETE FROM schema_migrations WHERE name = 'later'"


async def execute(*statements: str) -> None:
    connection = await asyncpg.connect(base_url(), server_settings={"search_path": SCHEMA})
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def let_go() -> bool:
    return True


async def test_a_worker_that_may_not_come_back_gives_up_and_says_why(tmp_path: Path) -> None:
    async with opened(fresh_url()) as store:
        recorder = Recorder(store)
        membership = Membership(
            store=store, recorder=recorder, clock=SystemClock(), settings=EngineSettings(home=tmp_path),
            holds=lambda: False, let_go=let_go, joined=lambda _: None, let_run_until=lambda _: None,
        )  # fmt: skip
        await membership.join()
        assert membership.is_member
        try:
            await execute(FORBID, FENCE)
            with structlog.testing.capture_logs() as logs:
                await membership._lost()
                assert membership._rejoining is not None
                async with asyncio.timeout(20):
                    await membership._rejoining
        finally:
            await execute(ALLOW)
        [told] = [line for line in logs if line["log_level"] == "error"]
        assert told["event"] == FORBIDDEN
        assert "99.0" in told["why"]
        assert not membership.is_member
        await membership.leave()
        await recorder.close()
