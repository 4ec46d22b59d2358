"""What `perdure doctor` looks at where the store is a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator

from perdure.cli.checks import FAIL, OK, WARN, Finding
from perdure.errors import InvalidSettings, StoreError
from perdure.stores import Examination, examine_database

SLOW_COMMIT_MS = 20.0
FAR_CLOCK_MS = 1000.0


async def check_database(url: str) -> list[Finding]:
    """The findings never show the URL's credentials."""
    try:
        found = await examine_database(url)
    except InvalidSettings as error:
        return [Finding("database", FAIL, error.message, "correct --store, PERDURE_STORE or perdure.toml")]
    except StoreError as error:
        return [Finding("database", FAIL, error.message, "see that it runs, and that the URL of the store is right")]
    return [_tables(found), *_commit(found), _clock(found), _signals(found), _connections(found)]


def _tables(found: Examination) -> Finding:
    where = f"PostgreSQL {found.version} at {found.place}, schema {found.schema}"
    if not found.schema_number:
        return Finding("database", OK, f"{where} (made at the first start)")
    detail = f"{where}, version {found.schema_number} of its tables"
    if found.schema_number < found.newest_schema:
        return Finding("database", FAIL, f"{detail}; {found.newest_schema} is needed", "perdure store migrate")
    return Finding("database", OK, detail)


def _commit(found: Examination) -> Iterator[Finding]:
    if found.commit_ms is None:
        return
    detail = f"{found.commit_ms:.2f} ms for a commit"
    if found.commit_ms > SLOW_COMMIT_MS:
        yield Finding(
            "commit", WARN, detail, "everything waits for this: bring the database nearer, or onto a faster disk"
        )
    else:
        yield Finding("commit", OK, detail)


def _clock(found: Examination) -> Finding:
    ahead = found.clock_ahead_ms
    detail = f"the database's clock is {abs(ahead):.0f} ms {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) > FAR_CLOCK_MS:
        return Finding(
            "clock",
            WARN,
            detail,
            "set both by NTP: times like `10m` are reckoned here, all others by the database's clock",
        )
    return Finding("clock", OK, detail)


def _signals(found: Examination) -> Finding:
    if found.hears is None:
        return Finding("signals", OK, "listen=false: processes look for work of others instead of being told")
    if not found.hears:
        detail = "a notification did not arrive: a proxy that does not keep sessions seems to stand between"
        return Finding(
            "signals", WARN, detail, "add listen=false (and prepare=false) to the URL, or go round the proxy"
        )
    return Finding("signals", OK, "processes tell each other of work (LISTEN and NOTIFY)")


def _connections(found: Examination) -> Finding:
    detail = f"{found.free_connections} are free; a process takes up to {found.connections_needed}"
    if found.free_connections < found.connections_needed:
        return Finding("connections", WARN, detail, "raise max_connections, or lower pool=… in the URL of the store")
    return Finding("connections", OK, detail)
