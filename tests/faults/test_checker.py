"""The outside checker finds what is wrong: each promise, broken on purpose in a copy of a sound record."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from tests.faults.harness.checker import Evidence, check
from tests.faults.harness.ledger import Acknowledgement, Boot, Effect, Ledger
from tests.faults.harness.scene import Scene
from tests.faults.harness.store import PLAIN_VFS, database, read_facts


class Record:
    """A store and its ledgers, after a scene that went well."""

    def __init__(self, scene: Scene) -> None:
        self.path = database(scene.home)
        self.acknowledgements = scene.acknowledgements.lines()
        self.effects = scene.effects.lines()
        self.boots = scene.boots.lines()

    def evidence(self, path: Path | None = None, **changes: Any) -> Evidence:
        sound = {"acknowledgements": self.acknowledgements, "effects": self.effects, "boots": self.boots}
        return Evidence(facts=read_facts(path or self.path), **{**sound, **changes})


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    scene = Scene(tmp_path_factory.mktemp("sound"))
    try:
        scene.server.start()
        for number in range(3):
            scene.api.start("faults/chain", key=f"chain-{number}", wait_s=20)
            scene.api.start("faults/parent", wait_s=20)
            scene.api.start("faults/limited", {"key": "a"}, wait_s=20)
            scene.api.start("faults/refund", wait_s=20)
        scene.verdict()
        yield Record(scene)
    finally:
        scene.close()


def corrupted(record: Record, folder: Path, *statements: str) -> Path:
    """A copy of the store with these changes."""
    path = folder / "perdure.db"
    shutil.copy(record.path, path)
    with closing(apsw.Connection(str(path), vfs=PLAIN_VFS)) as connection:
        connection.pragma("ignore_check_constraints", 1)
        for statement in statements:
            connection.execute(statement)
            assert connection.changes() > 0, statement
    return path


def test_a_sound_record_has_no_findings(record: Record) -> None:
    assert check(record.evidence()) == []


AN_ID = "(SELECT id FROM executions WHERE flow = 'faults/chain' ORDER BY id LIMIT 1)"

STORES = {
    "a lost execution": ("T: ", f"DELETE FROM executions WHERE id = {AN_ID}"),
    "an execution that never ended": (
        "T: ",
        f"UPDATE executions SET status = 'running', finished_at = NULL WHERE id = {AN_ID}",
    ),
    "a state that changed after it was told": ("T: ", f"UPDATE executions SET status = 'failed' WHERE id = {AN_ID}"),
    "an owner of what has ended": ("T: ", f"UPDATE executions SET worker = 'w' WHERE id = {AN_ID}"),
    "two ends": (
        "T: ",
        (f"INSERT INTO events SELECT execution_id, last_seq + 1, last_seq + 1, at, kinds, '[[\"execution.failed\",1]]' "
        f"FROM events WHERE execution_id = {AN_ID} ORDER BY seq DESC LIMIT 1"),
    ),
    "a node run that never ended": (
        "N: ",
        f"UPDATE node_runs SET status = 'running' WHERE execution_id = {AN_ID} AND node = 'c'",
    ),
    "a result that was recorded too early": (
        "N: ",
        f"UPDATE node_runs SET finished_at = started_at - 1000000 WHERE execution_id = {AN_ID} AND node = 'c'",
    ),
    "a node run without its execution": ("N: ", "UPDATE node_runs SET execution_id = randomblob(16) WHERE node = 'c'"),
    "a gap in the events": (
        "S: ",
        (f"DELETE FROM events WHERE execution_id = {AN_ID} AND seq > 1 AND last_seq < "
        f"(SELECT max(last_seq) FROM events WHERE execution_id = {AN_ID})"),
    ),
    "a lost first event": ("S: ", f"DELETE FROM events WHERE execution_id = {AN_ID} AND seq = 1"),
    "events beyond the last number": ("S: ", f"UPDATE executions SET last_seq = last_seq - 1 WHERE id = {AN_ID}"),
    "a gap in the feed": ("S: ", "DELETE FROM feed WHERE n = (SELECT max(n) / 2 FROM feed)"),
    "a key that leads elsewhere": (
        "K: ",
        "UPDATE idempotency SET execution_id = (SELECT max(id) FROM executions) WHERE key = 'chain-0'",
    ),
    "a key that is forgotten": ("K: ", "DELETE FROM idempotency WHERE key = 'chain-0'"),
    "two executions of one key": ("K: ", "UPDATE executions SET idempotency_key = 'chain-1' WHERE idempotency_key = 'chain-0'"),
    "a slot that leaked": (
        "B: slots",
        (f"INSERT INTO slots (execution_id, workspace, limit_key, max_held, held, rank) "
        f"VALUES ({AN_ID}, 'default', 'k', 1, 1, 0)"),
    ),
    "a queue row that leaked": (
        "B: queue",
        f"INSERT INTO queue (execution_id, workspace, queue, rank) VALUES ({AN_ID}, 'default', 'default', 0)",
    ),
    "a timer that leaked": ("B: timers", f"INSERT INTO timers VALUES ({AN_ID}, 'deadline', 1)"),
    "a message that leaked": ("B: inbox", f"INSERT INTO inbox (execution_id, kind, data, at) VALUES ({AN_ID}, 'x', '{{}}', 1)"),
    "a wait that leaked": (
        "B: waits",
        f"INSERT INTO waits (execution_id, node, ordinal, label, kind, created_at) VALUES ({AN_ID}, 'a', 0, '', 'timer', 1)",
    ),
    "a counter that is wrong": ("T: totals", "UPDATE totals SET count = count + 1 WHERE flow = 'faults/chain'"),
    "an orphan": ("T: ", "UPDATE executions SET parent = randomblob(16) WHERE parent IS NOT NULL"),
    "a tag that is not found": ("I: ", "DELETE FROM tags WHERE key = 'kind'"),
}  # fmt: skip


@pytest.mark.parametrize("what", STORES)
def test_a_damaged_store_is_found_out(record: Record, tmp_path: Path, what: str) -> None:
    start, statement = STORES[what]
    if "totals" in statement:
        statement = statement.replace("UPDATE totals", "UPDATE totals") if _has_totals(record) else (
            "INSERT INTO totals VALUES ('default', 'faults/chain', 'completed', 'api', 1)"
        )  # fmt: skip
    findings = check(record.evidence(corrupted(record, tmp_path, statement)))
    assert any(finding.startswith(start) for finding in findings), findings


def _has_totals(record: Record) -> bool:
    with closing(apsw.Connection(str(record.path), vfs=PLAIN_VFS)) as connection:
        return bool(list(connection.execute("SELECT 1 FROM totals WHERE flow = 'faults/chain'")))


def test_a_damaged_page_is_found_out(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "perdure.db"
    shutil.copy(record.path, path)
    with closing(apsw.Connection(str(path), vfs=PLAIN_VFS)) as connection:
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'executions_by_flow'")
    data = bytearray(path.read_bytes())
    start = (root - 1) * 4096
    data[start + 3 : start + 5] = b"\x00\x01"
    path.write_bytes(data)
    findings = check(record.evidence(path))
    assert any(finding.startswith("I: ") for finding in findings), findings


def an_effect(record: Record) -> Effect:
    return next(effect for effect in record.effects if effect.node == "c" and effect.kind == "begin")


LEDGERS: dict[str, tuple[str, Callable[[Record], dict[str, Any]]]] = {
    "an effect that happened twice": (
        "N: ",
        lambda record: {"effects": [*record.effects, replace(an_effect(record), at=an_effect(record).at + 1)]},
    ),
    "an effect after its result": (
        "N: ",
        lambda record: {"effects": [*record.effects, replace(an_effect(record), kind="alive", at=2**60)]},
    ),
    "an effect of an attempt that is not on record": (
        "N: ",
        lambda record: {"effects": [*record.effects, replace(an_effect(record), attempt=2)]},
    ),
    "an effect that was repeated under the same epoch": (
        "N: ",
        lambda record: {
            "effects": [replace(an_effect(record), at=1), *record.effects],
            "boots": [*record.boots, Boot(at=2)],
        },
    ),
    "a result without its end": (
        "N: ",
        lambda record: {
            "effects": [one for one in record.effects if (one.run, one.kind) != (an_effect(record).run, "end")]
        },
    ),
    "an effect of nobody": (
        "N: ",
        lambda record: {"effects": [*record.effects, replace(an_effect(record), execution="nobody")]},
    ),
    "a promise that was not kept": (
        "T: ",
        lambda record: {
            "acknowledgements": [
                *record.acknowledgements, Acknowledgement(kind="start", execution="lost", status="running", at=1)
            ]
        },
    ),
    "an end that changed": (
        "T: ",
        lambda record: {
            "acknowledgements": [*record.acknowledgements, replace(last_seen(record), status="cancelled")]
        },
    ),
    "a key that was answered twice": (
        "K: ",
        lambda record: {
            "acknowledgements": [
                *record.acknowledgements, replace(record.acknowledgements[0], execution=record.acknowledgements[1].execution)
            ]
        },
    ),
}  # fmt: skip


def last_seen(record: Record) -> Acknowledgement:
    return next(one for one in record.acknowledgements if one.kind == "seen")


@pytest.mark.parametrize("what", LEDGERS)
def test_a_ledger_that_disagrees_is_found_out(record: Record, what: str) -> None:
    start, changes = LEDGERS[what]
    findings = check(record.evidence(**changes(record)))
    assert any(finding.startswith(start) for finding in findings), findings


def test_a_repeated_effect_after_a_crash_is_what_was_promised(record: Record) -> None:
    first = an_effect(record)
    effects = [replace(first, at=first.at - 2_000_000, epoch=0), *record.effects]
    boots = [*record.boots, Boot(at=first.at - 1_000_000)]
    assert check(record.evidence(effects=effects, boots=boots)) == []


def test_lines_of_many_writers_do_not_mix(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", Boot)
    for at in range(100):
        ledger.append(Boot(at=at))
    assert [line.at for line in ledger.lines()] == list(range(100))
    assert ledger.lines(at=7) == [Boot(at=7)]
