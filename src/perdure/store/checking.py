"""Looking a whole store through: what contradicts itself, and what is missing."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import msgspec

from perdure.base.ids import id_text
from perdure.errors import ArtifactNotFound, StoreDamaged
from perdure.store.copying import sql
from perdure.store.copying.interface import Source, Watcher

SHOWN = 3
"""Of the places where something is wrong, so many are told."""
_OWNED = (
    "payloads", "node_runs", "events", "waits", "wait_approvers", "signals", "inbox", "queue", "timers", "slots", "tags",
    "artifacts", "blobs",
)  # fmt: skip
"""Tables whose rows belong to an execution."""


class Rule(NamedTuple):
    """`found` answers a row for each place where it is broken; `{place}` in what is told stands for the first ones."""

    code: str
    found: str
    detail: str
    hint: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, at how many places, and what to do about it."""

    code: str
    detail: str
    count: int
    hint: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    place: str
    executions: int
    contents: int
    problems: list[Problem]


_RESTORE = "restore a backup from before (perdure store restore)"
_REPORT = "this should not happen: report it, with the versions that wrote to this store"
_COUNTED = "workspace, flow, status, trigger_kind"
_HOUR_US = 3_600_000_000

RULES = (
    *(
        Rule(
            "rows_without_execution",
            f"SELECT o.execution_id FROM {table} AS o "  # noqa: S608
            "WHERE NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.id = o.execution_id)",
            f"{{count}} rows of {table} belong to executions that are not there: {{place}}",
            _REPORT,
        )
        for table in _OWNED
    ),
    Rule(
        "execution_without_payload",
        "SELECT e.id FROM executions AS e WHERE NOT EXISTS (SELECT 1 FROM payloads AS p WHERE p.execution_id = e.id)",
        "{count} executions have lost their input: {place}",
        _RESTORE,
    ),
    Rule(
        "child_without_parent",
        "SELECT e.id FROM executions AS e WHERE e.parent IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM executions AS p WHERE p.id = e.parent)",
        "{count} executions were started by ones that are not there: {place}",
        _REPORT,
    ),
    Rule(
        "events_with_gap",
        "SELECT s.execution_id FROM (SELECT v.execution_id, v.seq, "
        "lag(v.last_seq, 1, CAST(0 AS bigint)) OVER (PARTITION BY v.execution_id ORDER BY v.seq) AS before FROM events AS v) AS s "
        "WHERE s.seq <> s.before + 1",
        "the events of executions have {count} gaps: {place}",
        _RESTORE,
    ),
    Rule(
        "events_without_end",
        "SELECT e.id FROM executions AS e WHERE e.last_seq <> "
        "coalesce((SELECT max(v.last_seq) FROM events AS v WHERE v.execution_id = e.id), 0)",
        "{count} executions count other events than they have: {place}",
        _RESTORE,
    ),
    Rule(
        "nobody_comes",
        "SELECT e.id FROM executions AS e WHERE e.status IN ('queued', 'interrupted') "
        "AND NOT EXISTS (SELECT 1 FROM queue AS q WHERE q.execution_id = e.id)",
        "{count} executions are to run and stand in no queue: {place}",
        "cancel them, and start them again",
    ),
    Rule(
        "slot_of_ended",
        "SELECT s.execution_id FROM slots AS s CROSS JOIN executions AS e "
        "WHERE e.id = s.execution_id AND e.finished_at IS NOT NULL",
        "{count} executions hold a slot of a limit although they have ended: {place}",
        _REPORT,
    ),
    *(
        Rule(
            "value_without_blob",
            f"SELECT o.execution_id FROM {table} AS o WHERE o.{value}_blob IS NOT NULL AND NOT EXISTS "  # noqa: S608
            f"(SELECT 1 FROM blobs AS b WHERE b.execution_id = o.execution_id AND b.sha256 = o.{value}_blob)",
            f"{{count}} large {value}s in {table} are registered nowhere, so that copies and sweeps do not know of them: {{place}}",
            _REPORT,
        )
        for table in ("payloads", "node_runs")
        for value in ("input", "output")
    ),
)

_TRUE_COUNTS = f"SELECT {_COUNTED}, created_at / {_HOUR_US} AS hour, 1 AS n FROM executions WHERE kind = 'flow'"  # noqa: S608
_DELTAS = f"SELECT {_COUNTED}, hour, -delta AS n FROM counter_deltas"  # noqa: S608


def _counts(table: str, keys: str, day: str) -> Rule:
    """What a table of counters and the deltas that are not in it yet say, against the executions themselves."""
    return Rule(
        "counters_differ",
        f"SELECT {keys}, sum(c.n) FROM (SELECT {keys.replace('day', day)}, n FROM ({_TRUE_COUNTS}) AS t "  # noqa: S608
        f"UNION ALL SELECT {keys.replace('day', day)}, n FROM ({_DELTAS}) AS d "
        f"UNION ALL SELECT {keys}, -count FROM {table}) AS c GROUP BY {keys} HAVING sum(c.n) <> 0",
        f"{table} is wrong at {{count}} places: {{place}}",
        "counts in lists and statistics are off by so many (the last number); " + _REPORT,
    )


COUNTER_RULES = (
    _counts("counters", f"{_COUNTED}, hour", "day"),
    _counts("hours", "workspace, status, trigger_kind, hour", "day"),
    _counts("days", f"{_COUNTED}, day", "hour / 24 AS day"),
    _counts("totals", _COUNTED, "day"),
)


async def check_store(source: Source, *, watcher: Watcher, in_file: bool, reads_contents: bool = True) -> Checked:
    """Check the store as it is at one moment; whoever uses it goes on.

    Args:
        in_file: it is a SQLite file, whose pages and indexes are gone through as well.
        reads_contents: also read every content, and compare it with its sha-256.

    Raises `StoreError` when it cannot be read at all.
    """
    problems: list[Problem] = []
    try:
        if in_file:
            found = [str(row[0]) for row in await source.all("PRAGMA integrity_check(100)")]
            if found != ["ok"]:
                problems.append(_damage(found))
        rules = (*RULES, *COUNTER_RULES)
        watcher.begin("rules", len(rules))
        for rule in rules:
            rows = await source.all(f"SELECT f.*, count(*) OVER () FROM ({rule.found}) AS f LIMIT {SHOWN}")  # noqa: S608
            if rows:
                problems.append(_broken(rule, rows))
            watcher.advance(1, rule.code)
        executions = int((await source.all(sql.EXECUTIONS))[0][0])
        contents = await _check_contents(source, watcher, problems, reads=reads_contents)
    except StoreDamaged as error:
        problems.append(_damage([error.message]))
        executions = contents = 0
    return Checked(place=source.place, executions=executions, contents=contents, problems=problems)


async def _check_contents(source: Source, watcher: Watcher, problems: list[Problem], *, reads: bool) -> int:
    """Answers how many there are to be."""
    wanted = [content async for block in source.contents() for content in block]
    watcher.begin("contents", sum(content.size_bytes for content in wanted) if reads else 0)
    missing, changed = [], []
    for content in wanted:
        if not await source.has_content(content.sha256):
            missing.append(content.sha256.hex())
        elif reads:
            digest = hashlib.sha256()
            try:
                async for piece in source.content(content.sha256):
                    digest.update(piece)
                    watcher.advance(len(piece), "contents")
            except ArtifactNotFound:
                missing.append(content.sha256.hex())
                continue
            if digest.digest() != content.sha256:
                changed.append(content.sha256.hex())
    for code, hashes, what in (
        ("content_missing", missing, "artifacts or large values are not there"),
        ("content_damaged", changed, "artifacts or large values are not what they were"),
    ):
        if hashes:
            hint = "name their folder (--artifacts), or put these files back from a backup (its folder artifacts)"
            shown = ", ".join(hashes[:SHOWN])
            problems.append(
                Problem(code=code, detail=f"{len(hashes)} {what}: sha-256 {shown}", count=len(hashes), hint=hint)
            )
    return len(wanted)


def _broken(rule: Rule, rows: list[Any]) -> Problem:
    count = int(rows[0][-1])
    places = [" ".join(id_text(value) if type(value) is bytes else str(value) for value in row[:-1]) for row in rows]
    shown = ", ".join(dict.fromkeys(places)) + (", …" if count > len(rows) else "")
    return Problem(
        code=rule.code, detail=rule.detail.format(count=f"{count:,}", place=shown), count=count, hint=rule.hint
    )


def _damage(found: list[str]) -> Problem:
    return Problem(code="file_damaged", detail="; ".join(found[:SHOWN]), count=len(found), hint=_RESTORE)
