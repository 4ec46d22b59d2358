"""`perdure doctor` where the store is a database."""

from __future__ import annotations

import json

import pytest

from perdure.store.postgres.migrate import bring_up, migrations
from perdure.store.postgres.url import parse_url
from tests.cli.conftest import Command
from tests.cli.store.conftest import ask
from tests.store.portal import call


def findings(offline: Command) -> dict[str, tuple[str, str]]:
    done = offline("doctor", "-o", "json")
    assert "hidden" not in done.out + done.err
    found = json.loads(done.out)
    assert done.code == any(one["state"] == "fail" for one in found)
    return {one["check"]: (one["state"], one["detail"]) for one in found}


def test_a_database_is_looked_into(offline: Command, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_STORE", database.replace("postgres@", "postgres:hidden@"))
    found = findings(offline)
    assert found["database"][0] == "ok"
    assert "made at the first start" in found["database"][1]
    for check, detail in (
        ("commit", "ms for a commit"),
        ("clock", "this machine's"),
        ("signals", "LISTEN"),
        ("connections", "a process takes up to 13"),
    ):
        assert found[check][0] == "ok"
        assert detail in found[check][1]
    assert not {"store", "owner", "fsync"} & found.keys()
    call(bring_up, parse_url(database), migrations())
    assert f"version {len(migrations())} of its tables" in findings(offline)["database"][1]


def test_what_is_wrong_is_told_with_what_to_do(
    offline: Command, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_STORE", database)
    call(bring_up, parse_url(database), migrations()[:2])
    name = database.rpartition("/")[2]
    ask(database, f"ALTER DATABASE {name} CONNECTION LIMIT 5")
    done = offline("doctor")
    assert done.code == 1
    assert "→ perdure store migrate" in done.out
    assert "→ raise max_connections" in done.out
    monkeypatch.setenv("PERDURE_STORE", database + "?listen=false")
    assert findings(offline)["signals"][1].startswith("listen=false")


def test_a_database_that_is_not_there_is_told_without_the_password(
    offline: Command, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (
        database.replace("postgres@", "postgres:hidden@").replace("used_by", "no"),
        "postgresql://me:hidden@127.0.0.1:1/x",
    ):
        monkeypatch.setenv("PERDURE_STORE", url)
        assert findings(offline)["database"][0] == "fail"
