"""Looking a whole store through: what contradicts itself, and what is missing."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import msgspec

from perdure.base.ids import id_text
from perdure.errors import ArtifactNotFound, StoreDamaged
from perdure.store.copying import sql
from perdure.store.copying.interface import Source, Watcher
from perdure.store.rules import ALL_RULES, RESTORE, Rule

SHOWN = 3
"""Of the places where something is wrong, so many are told."""


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


_MISSING, _DAMAGED = "content_missing", "content_damaged"
_WRONG = {
    _MISSING: "artifacts or large values are not there",
    _DAMAGED: "artifacts or large values are not what they were",
}
"""What may be the matter with a content, by the code."""


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
        watcher.begin("rules", len(ALL_RULES))
        for rule in ALL_RULES:
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
    count = size_bytes = 0
    async for block in source.contents():
        count += len(block)
        size_bytes += sum(content.size_bytes for content in block)
    watcher.begin("contents", size_bytes if reads else 0)
    counts: Counter[str] = Counter()
    shown: dict[str, list[str]] = {code: [] for code in _WRONG}
    # A store may have millions of them: no more than a block is held.
    async for block in source.contents():
        for content in block:
            if (code := await _wrong(source, content.sha256, watcher, reads=reads)) is not None:
                counts[code] += 1
                if len(shown[code]) < SHOWN:
                    shown[code].append(content.sha256.hex())
    for code, what in _WRONG.items():
        if counts[code]:
            hint = "name their folder (--artifacts), or put these files back from a backup (its folder artifacts)"
            detail = f"{counts[code]} {what}: sha-256 {', '.join(shown[code])}"
            problems.append(Problem(code=code, detail=detail, count=counts[code], hint=hint))
    return count


async def _wrong(source: Source, sha256: bytes, watcher: Watcher, *, reads: bool) -> str | None:
    if not await source.has_content(sha256):
        return _MISSING
    if not reads:
        return None
    digest = hashlib.sha256()
    try:
        async for piece in source.content(sha256):
            digest.update(piece)
            watcher.advance(len(piece), "contents")
    except ArtifactNotFound:
        return _MISSING
    return None if digest.digest() == sha256 else _DAMAGED


def _broken(rule: Rule, rows: list[Any]) -> Problem:
    count = int(rows[0][-1])
    places = [" ".join(id_text(value) if type(value) is bytes else str(value) for value in row[:-1]) for row in rows]
    shown = ", ".join(dict.fromkeys(places)) + (", …" if count > len(rows) else "")
    return Problem(
        code=rule.code, detail=rule.detail.format(count=f"{count:,}", place=shown), count=count, hint=rule.hint
    )


def _damage(found: list[str]) -> Problem:
    return Problem(code="file_damaged", detail="; ".join(found[:SHOWN]), count=len(found), hint=RESTORE)
