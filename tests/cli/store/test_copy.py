"""A store that a killed server left, with all kinds of rows, is taken to another place, and goes on there."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from perdure.api.feed import Place, cursor_of
from perdure.base.clock import SystemClock
from perdure.client.client import Client
from perdure.store.faults import EXIT_CODE
from perdure.wire.events import Event
from tests.cli.conftest import Command, Printed
from tests.cli.store.conftest import ask, store
from tests.faults.harness.store import PLAIN_VFS
from tests.faults.harness.waiting import until
from tests.served import clean_environ, perdure, serving

FLOWS = Path(__file__).parent / "flows"
TEXT = "x" * 100_000
BEGINNING = cursor_of(Place({}, SystemClock().now()), "default")
EMPTY = {"inbox", "queue", "counter_deltas"}
"""Tables that may be empty in the store that was left: what is in them comes and goes."""
FOLDED = "SELECT count(*) FROM durations"


class Left(msgspec.Struct):
    """A folder with a home that a server left when it was killed; `ids` by what they are for. `operation` has tagged one."""

    folder: Path
    operation: str
    ids: dict[str, str]
    seen: dict[str, list[int]]
    cursor: str
    unfinished: int

    @property
    def database(self) -> Path:
        return self.folder / ".perdure" / "perdure.db"

    @property
    def source(self) -> str:
        return f"sqlite:{self.database}"


@pytest.fixture(scope="module")
def left_once(tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder = tmp_path_factory.mktemp("left")
    flag = folder / "flag"
    ids: dict[str, str] = {}
    with serving(folder, "--flows", str(FLOWS)) as served, Client(served.url) as client:
        start = client.executions.start
        ids["done"] = start("done", input={"text": TEXT}, tags={"kind": "large"}, idempotency_key="k", wait_s=30).id
        ids["parent"] = start("parent").id
        ids["holder"], ids["waiter"] = start("single").id, start("single").id
        ids["first"], ids["rated"] = start("rated", wait_s=30).id, start("rated").id
        ids["later"] = start("done", input={"text": "a"}, start_at=datetime.fromtimestamp(time.time() + 8, UTC)).id
        operation = client.operations.start("tag", ids=[ids["done"]], arguments={"set": {"seen": "yes"}}).id
        client.operations.wait(operation, 30)
        gate = start("gate")
        gate.signal("paid", 7)
        ids["gate"] = gate.id
        ids["stuck"] = start("stuck", input={"flag": str(flag)}).id
        wanted = {(ids["stuck"], "node.started"), (ids["parent"], "execution.suspended"),
                  (ids["holder"], "execution.suspended"), (ids["gate"], "execution.suspended")}  # fmt: skip
        seen: dict[str, list[int]] = {}
        cursor = BEGINNING
        for event in client.system.events(cursor=cursor):
            cursor = note(seen, event)
            wanted.discard((event.execution, event.type))
            if not wanted:
                break
        unfinished = [one.id for one in client.executions.list() if one.finished_at is None]
        with closing(apsw.Connection(str(folder / ".perdure" / "perdure.db"), vfs=PLAIN_VFS)) as database:
            until(lambda: database.execute(FOLDED).get, within_s=30, what="the counters are folded")
        served.kill()
    (child,) = set(unfinished) - set(ids.values())
    return Left(folder, operation, {**ids, "child": child}, seen, cursor, len(unfinished))


@pytest.fixture
def left(left_once: Left, tmp_path: Path) -> Left:
    """One's own copy of what was left."""
    folder = tmp_path / "left"
    shutil.copytree(left_once.folder, folder)
    return msgspec.structs.replace(left_once, folder=folder, seen={id: [*seqs] for id, seqs in left_once.seen.items()})


def note(seen: dict[str, list[int]], event: Event) -> str:
    seen.setdefault(event.execution, []).append(event.seq)
    return event.cursor


def go_on(left: Left, url: str, *, on_reset: Callable[[Any], None], token: str | None = None) -> None:
    """Let everything come to its end, and read the feed from where it was left until then."""
    unfinished = {left.ids[name] for name in ("parent", "child", "holder", "waiter", "rated", "later", "stuck", "gate")}
    with Client(url, token=token) as client:
        client.executions.handle(left.ids["gate"]).approve()
        for event in client.system.events(cursor=left.cursor, on_reset=on_reset):
            note(left.seen, event)
            if event.type == "execution.completed":
                unfinished.discard(event.execution)
            if not unfinished:
                break
        handle = client.executions.handle(left.ids["done"])
        assert handle.result() == TEXT
        assert client.executions.handle(left.ids["gate"]).result() == 7
        (published,) = handle.artifacts()
        assert client.artifacts.read(published.id) == bytes(range(256)) * 2_400
        assert (
            client.executions.start("done", input={"text": TEXT}, tags={"kind": "large"}, idempotency_key="k").id
            == handle.id
        )
        newest = client.executions.start("nap").record
        assert newest.number == 1 + max(client.executions.get(id).number for id in left.ids.values())
        assert client.executions.get(left.ids["stuck"]).recoveries == 1
        assert [one.id for one in client.executions.list(tags={"kind": "large"})] == [handle.id]
        items = client.operations.items(left.operation)
        assert [(item.execution, item.outcome) for item in items] == [(handle.id, "succeeded")]


def summary(printed: Printed) -> dict[str, Any]:
    assert printed.code == 0, printed.err
    found: dict[str, Any] = json.loads(printed.out)
    return found


def test_everything_goes_on_at_postgresql(
    offline: Command, left: Left, database: str, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.setenv("PERDURE_HOME", str(left.database.parent))
        token = offline("token", "create", "later").out.strip()
    done = summary(offline("store", "copy", left.source, database, "-o", "json"))
    counts = {name: table["rows"] for name, table in done["tables"].items()}
    assert {name for name, rows in counts.items() if not rows} <= EMPTY
    assert (done["unfinished"], done["contents_missing"]) == (left.unfinished, 0)
    assert done["contents"] >= 2
    resets: list[Any] = []
    with serving(nowhere, "--store", database, "--flows", str(FLOWS)) as served:
        go_on(left, served.url, on_reset=resets.append, token=token)
    assert not resets
    for id, seqs in left.seen.items():
        assert seqs == list(range(1, len(seqs) + 1)), id


def test_back_at_a_file_the_same_is_there_and_old_readers_hear_of_the_gap(
    offline: Command, left: Left, database: str, nowhere: Path
) -> None:
    there = summary(offline("store", "copy", left.source, database, "-o", "json"))
    home = nowhere / "home"
    back = summary(offline("store", "copy", database, f"sqlite:{home}/perdure.db", "-o", "json"))
    assert back["tables"] == there["tables"]
    assert back["contents"] == there["contents"]
    again = summary(
        offline("store", "copy", f"sqlite:{home}/perdure.db", f"sqlite:{nowhere}/b/perdure.db", "-o", "json")
    )
    told = {name for name, table in again["tables"].items() if table != there["tables"][name]}
    assert told <= {"feed", "measures"}
    # A store that had several writers: the file's own commits are none that an old position can hide.
    ask(database, "SELECT setval('writers_number_seq', 7)")
    other = nowhere / "other"
    assert offline("store", "copy", database, f"sqlite:{other}/perdure.db").code == 0
    resets: list[Any] = []
    with serving(nowhere, "--home", str(other), "--flows", str(FLOWS)) as served:
        go_on(left, served.url, on_reset=resets.append)
    assert len(resets) == 1


CHANGED = "NEW.input_size := NEW.input_size + 1; RETURN NEW;"
LOST = "RETURN NULL;"
SPOILT = "NEW.data := set_byte(NEW.data, 0, 255 - get_byte(NEW.data, 0)); RETURN NEW;"


@pytest.mark.parametrize(
    ("table", "when", "does", "told"),
    [
        ("payloads", "NEW.execution_id = '{done}'", CHANGED, "payloads with execution_id {done} has another input_size"),
        ("tags", "NEW.key = 'kind'", LOST, "tags with workspace default, key kind, value large, execution_id {done} is missing"),
        ("blob_chunks", "TRUE", SPOILT, "is another one there"),
    ],
)  # fmt: skip
def test_a_copy_that_is_not_the_same_is_told_and_not_kept(
    offline: Command, left: Left, database: str, table: str, when: str, does: str, told: str
) -> None:
    assert offline("store", "migrate", "--store", database).code == 0
    ask(database, f"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does} END $$")
    ask(
        database,
        f"CREATE TRIGGER spoil BEFORE INSERT ON {table} FOR EACH ROW WHEN ({when.format(**left.ids)}) EXECUTE FUNCTION spoil()",
    )
    printed = offline("store", "copy", left.source, database)
    assert printed.code == 1
    assert told.format(**left.ids) in printed.err
    assert ask(database, "SELECT count(*) FROM executions") == 0
    ask(database, f"DROP TRIGGER spoil ON {table}")
    assert offline("store", "copy", left.source, database).code == 0


@pytest.mark.parametrize("fault", ["copying:1", "copying:9", "copied"])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_copy_that_was_killed_leaves_nothing_and_the_next_one_is_whole(
    offline: Command, left: Left, database: str, nowhere: Path, kind: str, fault: str
) -> None:
    target = database if kind == "postgresql" else f"sqlite:{nowhere}/new/perdure.db"
    before = rows_of(left.database)
    killed = store("copy", left.source, target, fault=fault)
    assert killed.returncode == EXIT_CODE
    if kind == "sqlite":
        assert not (nowhere / "new" / "perdure.db").exists()
    assert offline("store", "copy", left.source, target).code == 0
    if kind == "sqlite":
        assert {path.name for path in (nowhere / "new").iterdir()} == {"perdure.db", "perdure.db.lock", "artifacts"}
    assert rows_of(left.database) == before


def rows_of(database: Path) -> dict[str, list[Any]]:
    connection = apsw.Connection(str(database))
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {name: list(connection.execute(f"SELECT * FROM {name}")) for name in names}
    connection.close()
    return found


def test_a_store_that_is_in_use_or_not_empty_is_refused(
    offline: Command, left: Left, database: str, nowhere: Path
) -> None:
    with serving(nowhere, "--store", database) as served:
        busy = offline("store", "copy", left.source, database)
        assert (busy.code, "workers run on the store" in busy.err) == (1, True)
        busy = offline("store", "copy", database, f"sqlite:{nowhere}/x.db")
        assert (busy.code, "workers run on the store" in busy.err) == (1, True)
        assert served.stop() == 0
    after = offline("store", "copy", left.source, database)
    assert after.code == 0, after.err
    full = offline("store", "copy", left.source, database)
    assert (full.code, "is not empty: it has rows in flows" in full.err) == (1, True)
    there = offline("store", "copy", database, left.source)
    assert (there.code, "is there already" in there.err) == (1, True)
    with serving(left.folder):
        owned = offline("store", "copy", left.source, f"sqlite:{nowhere}/x.db")
        assert (owned.code, "is owned by process" in owned.err) == (1, True)


def test_artifacts_that_are_elsewhere_are_missed_before_anything_is_copied(
    offline: Command, left: Left, nowhere: Path
) -> None:
    moved = nowhere / "files"
    (left.database.parent / "artifacts").rename(moved)
    target = f"sqlite:{nowhere}/new/perdure.db"
    missed = offline("store", "copy", left.source, target)
    assert (missed.code, "--artifacts" in missed.err) == (1, True)
    without = summary(offline("store", "copy", left.source, target, "--without-missing", "-o", "json"))
    assert (without["contents"], without["contents_missing"] >= 2) == (0, True)
    found = summary(
        offline("store", "copy", left.source, f"sqlite:{nowhere}/b/perdure.db", "--artifacts", str(moved), "-o", "json")
    )
    assert (found["contents"] >= 2, found["contents_missing"]) == (True, 0)


def test_a_folder_beside_postgresql_is_copied_to_and_from(
    offline: Command, left: Left, database: str, nowhere: Path
) -> None:
    shared, back = nowhere / "shared", nowhere / "back"
    there = offline("store", "copy", left.source, database, "--to-artifacts", str(shared))
    assert (there.code, f"--artifacts {shared}" in there.out) == (0, True), there.err
    contents = {path.name for path in (left.database.parent / "artifacts").glob("??/*")}
    assert {path.name for path in shared.glob("??/*")} == contents != set()
    assert ask(database, "SELECT count(*) FROM blob_chunks") == 0
    missed = offline("store", "copy", database, f"sqlite:{back}/perdure.db")
    assert (missed.code, "--artifacts" in missed.err) == (1, True)
    found = summary(
        offline("store", "copy", database, f"sqlite:{back}/perdure.db", "--artifacts", str(shared), "-o", "json")
    )
    assert (found["contents"], found["contents_missing"]) == (len(contents), 0)
    assert {path.name for path in (back / "artifacts").glob("??/*")} == contents


def test_a_damaged_artifact_is_not_copied(offline: Command, left: Left, nowhere: Path) -> None:
    file = next(path for path in (left.database.parent / "artifacts").glob("??/*") if path.stat().st_size > 500_000)
    with file.open("r+b") as opened:
        opened.write(b"\xff")
    printed = offline("store", "copy", left.source, f"sqlite:{nowhere}/new/perdure.db")
    assert (printed.code, f"{file.name} at {left.database} is damaged" in printed.err) == (1, True)
    assert not (nowhere / "new" / "perdure.db").exists()


def test_a_retired_store_names_the_new_place(offline: Command, left: Left, database: str, nowhere: Path) -> None:
    with_password = database.replace("postgres@", "postgres:hidden@")
    printed = offline("store", "copy", left.source, f"{with_password}?schema=elsewhere", "--retire")
    assert printed.code == 0
    assert "hidden" not in printed.out + printed.err
    served = subprocess.run(
        perdure("serve", "--port", "0"),
        check=False,
        capture_output=True,
        text=True,
        cwd=left.folder,
        env=clean_environ(nowhere),
    )
    assert served.returncode == 1
    assert "was moved to postgresql://127.0.0.1" in served.stderr
    assert "?schema=elsewhere: use that one" in served.stderr
    assert "hidden" not in served.stderr
    (left.folder / ".perdure" / "perdure.db.moved").unlink()
    with serving(left.folder):
        pass


def test_what_is_no_store_is_told(offline: Command, nowhere: Path) -> None:
    for source, told in (
        ("mysql://x", "of the kind 'mysql'"),
        ("perdure.db", "without a kind"),
        ("sqlite:nothing.db", "there is no store at nothing.db"),
    ):
        printed = offline("store", "copy", source, "sqlite:new.db")
        assert (printed.code, told in printed.err) == (1, True), printed.err
    assert offline("store", "copy", "postgresql://h/d", "sqlite:new.db", "--retire").code == 2
