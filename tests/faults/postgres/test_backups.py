"""A backup of a PostgreSQL store is taken while servers write: it is of one moment, and the store made of it goes on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from tests.faults.harness.checker import Evidence, check, require_clean
from tests.faults.harness.cluster import SERVER, Cluster
from tests.faults.harness.load import Load
from tests.faults.harness.postgres_store import read_facts
from tests.faults.harness.server import PERDURE

ON_THEIR_WAY = ("not terminal", "the feed of writer")
"""Findings that are none in a snapshot: many were running, and where each writer begins is another place."""


def store(*args: str | Path) -> Any:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    command = [str(PERDURE), "store", *map(str, args), "-o", "json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_a_backup_under_load_holds_all_that_was_acknowledged_before(cluster: Cluster) -> None:
    one, two = (cluster.member(name, *SERVER) for name in ("one", "two"))
    cluster.start(one, two)
    cluster.api.start_surely("faults/echo", {"value": "x" * 100_000}, key="large")
    urls = [lambda: one.url, lambda: two.url]
    loads = [
        Load(url, cluster.acknowledgements, seed=seed, threads=2, ledger=cluster.ledger)
        for seed, url in enumerate(urls)
    ]
    backup = cluster.place / "backup"
    try:
        for load in loads:
            load.wait_for(30)
        before = cluster.acknowledgements.lines()
        began = loads[0].started
        taken = store("backup", backup, "--store", cluster.url)
        loads[0].wait_for(began + 20)
    finally:
        for load in loads:
            load.stop()
    database = f"restored_{uuid4().hex[:12]}"
    cluster.postgres.run(f"CREATE DATABASE {database}")
    try:
        url = cluster.postgres.url(database)
        store("restore", backup, "--store", url)
        found = store("check", "--store", url)
        assert (found["problems"], found["executions"]) == ([], taken["executions"])
        facts = read_facts(url)
    finally:
        cluster.postgres.run(f"DROP DATABASE {database} WITH (FORCE)")
    assert len(facts.executions) < len(cluster.facts().executions)
    promised = [msgspec.structs.replace(one, status="") for one in before]
    findings = check(Evidence(facts=facts, acknowledgements=promised))
    require_clean([one for one in findings if not any(words in one for words in ON_THEIR_WAY)])
    cluster.verdict()
