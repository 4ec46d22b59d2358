"""A backup is taken under load: it is whole or not there, and holds everything acknowledged before it began."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from perdure.store.faults import EXIT_CODE
from tests.faults.harness.checker import Evidence, check, require_clean
from tests.faults.harness.load import Load
from tests.faults.harness.scene import Scene
from tests.faults.harness.server import PERDURE
from tests.faults.harness.store import database, read_facts


def store(*args: str | Path, fault: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    if fault is not None:
        environ["PERDURE_FAULT"] = fault
    return subprocess.run(
        [str(PERDURE), "store", *map(str, args)], check=False, capture_output=True, text=True, env=environ, timeout=60
    )


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_a_backup_under_load_holds_all_that_was_acknowledged_before(scene: Scene) -> None:
    backup, restored = scene.place / "backup", scene.place / "restored"
    large = scene.api.start_surely("faults/echo", {"value": "x" * 100_000}, key="large")
    load = Load(lambda: scene.server.url, scene.acknowledgements, seed=3, threads=4, ledger=scene.ledger)
    try:
        load.wait_for(100)
        for fault in ("copying:1", "copying_contents", "copied"):
            killed = store("backup", backup, "--home", scene.home, fault=fault)
            assert killed.returncode == EXIT_CODE, killed.stderr
            assert not backup.exists()
        before = scene.acknowledgements.lines()
        began = load.started
        taken = answer(store("backup", backup, "--home", scene.home, "-o", "json"))
        load.wait_for(began + 50)
    finally:
        load.stop()
    assert not list(scene.place.glob(".backup-unfinished-*"))
    assert sorted(path.name for path in backup.iterdir()) == ["artifacts", "backup.json", "perdure.db"]
    assert answer(store("restore", backup, "--home", restored, "-o", "json"))["contents"] == taken["contents"] >= 1
    found = answer(store("check", "--home", restored, "-o", "json"))
    assert (found["problems"], found["executions"]) == ([], taken["executions"])
    facts = read_facts(database(restored))
    assert large["id"] in facts.executions
    assert len(facts.executions) < len(scene.facts().executions)
    findings = check(
        Evidence(facts=facts, acknowledgements=[msgspec.structs.replace(one, status="") for one in before])
    )
    # The snapshot is of a moment at which many were on their way.
    require_clean(
        [one for one in findings if "not terminal" not in one and "the feed of writer 1 goes from" not in one]
    )
    scene.verdict()


def test_what_was_on_its_way_goes_on_at_the_restored_store(scene: Scene) -> None:
    backup, home = scene.place / "backup", scene.place / "again"
    gate = scene.gate("gate")
    held = scene.api.start("faults/hold-inline", {"gate": gate.name})["id"]
    assert store("backup", backup, "--home", scene.home).returncode == 0
    scene.server.kill()
    assert store("restore", backup, "--home", home).returncode == 0
    refused = store("restore", backup, "--home", home)
    assert (refused.returncode, "is there already" in refused.stderr) == (1, True)
    gate.touch()
    scene.home = scene.server.home = home
    scene.server.start()
    facts = scene.verdict(ignore=["S: the feed of writer 1 goes from"])
    assert facts.executions[held]["status"] == "completed"
