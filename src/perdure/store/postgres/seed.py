"""A long history made in minutes, in PostgreSQL's own words: see `perdure.store.seeding`."""

from __future__ import annotations

from perdure.store.postgres.connection import MIGRATING, connect
from perdure.store.postgres.store import PostgresStore
from perdure.store.postgres.url import parse_url
from perdure.store.seeding import DRAWN, SUMS, WRITES, Drawing, Told, fillers

_SESSION = MIGRATING | {"synchronous_commit": "off", "work_mem": "64MB", "temp_buffers": "128MB", "jit": "off"}

_ROLLED = """
CREATE TEMP TABLE rolled ON COMMIT DROP AS
SELECT
    m.i,
    m.at,
    (
        lpad(to_hex(m.at / 1000), 12, '0') || '7' || lpad(to_hex(m.i % 4096), 3, '0') || '8'
        || lpad(to_hex((random() * 288230376151711743)::bigint), 15, '0')
    )::uuid AS id,
    random() AS u1,
    random() AS u2,
    random() AS u3,
    random() AS u4,
    random() AS u5
FROM (
    SELECT i, {since} + (i * {step}::float8)::bigint AS at FROM generate_series({first}::bigint, {end}::bigint - 1) AS i
) AS m
"""

_TABLES = "executions, payloads, node_runs, events, tags, counters, hours, hour_totals, days, totals, durations, duration_totals"


async def seed_history(url: str, drawing: Drawing, *, told: Told) -> None:
    """Write that many ended executions into the store at `url`, which is made where it is not there.

    `told` is called with the number of executions written so far. What would be vacuumed and analysed in the course of
    time is so at the end. Raises as opening a store does.
    """
    store = await PostgresStore.open(url)
    try:
        await store.make_partitions(since=drawing.since)
    finally:
        await store.close()
    connection = await connect(parse_url(url), _SESSION, name="perdure bench")
    try:
        await connection.execute("CREATE TEMP TABLE fillers (number bigint PRIMARY KEY, text text)")
        numbers, texts = zip(*fillers(), strict=True)
        await connection.fetch(
            "INSERT INTO fillers SELECT * FROM unnest($1::bigint[], $2::text[])", list(numbers), list(texts)
        )
        await connection.execute("ANALYZE fillers")
        for first, end in drawing.sets():
            rolled = _ROLLED.format(first=first, end=end, since=drawing.since, step=drawing.step)
            async with connection.transaction():
                await connection.execute(f"{rolled}; CREATE INDEX ON rolled (i); ANALYZE rolled")
                drawn = DRAWN.replace("{workspace}", drawing.workspace)
                await connection.execute(f"CREATE TEMP TABLE drawn ON COMMIT DROP AS {drawn}; ANALYZE drawn")
                for statement in WRITES:
                    await connection.execute(statement)
            told(end)
        for statement in SUMS:
            await connection.execute(statement)
        await connection.execute(f"VACUUM ANALYZE {_TABLES}")
    finally:
        await connection.close()


async def is_unused(url: str) -> bool:
    """Whether no execution stands there, or no store."""
    connection = await connect(parse_url(url), MIGRATING, name="perdure bench")
    try:
        if await connection.fetchval("SELECT to_regclass('executions')") is None:
            return True
        return not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM executions)")
    finally:
        await connection.close()
