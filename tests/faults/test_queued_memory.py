"""Promise B: nothing is kept in memory for executions that do not run; 100,000 queued ones cost no more than 100."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.harness.api import API
from tests.faults.harness.scene import Scene
from tests.faults.harness.waiting import until

SET = 1_000
"""Starts in one request, the most that the API takes."""
FEW = 100
MANY = 100_000
FULL_AT = 80_000
"""By then SQLite's page caches, which have a limit of their own, are full."""
CACHES_KB = 128 * 1024
"""What caches and the heap of a server under load may take, however much is queued."""
SLACK_KB = 2 * 1024
"""From FULL_AT to MANY that is 100 bytes for each execution: less than an id in a dict."""
PORTION_KB = 6 * 1024
"""What taking up the texts of what a stopped server left may cost besides, whatever is left: a portion of them at a time,
and the few pages of the database that their readers keep."""
PORTION = 256
"""So many executions are put into the text index; fewer wait for others."""
HELD = {"gate": "never", "ledger": "/dev/null"}


def memory_kb(pid: int) -> int:
    """What that process has for itself; of files that are mapped, others have their share, which comes and goes."""
    found = re.search(r"^Anonymous:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def queue(scene: Scene, count: int) -> None:
    for first in range(0, count, SET):
        starts = [{"flow": "faults/hold-shell", "input": HELD}] * min(SET, count - first)
        answer = scene.api.request("POST", f"{API}/executions/batch", json={"executions": starts})
        assert answer.is_success, answer.text


def peak_while_indexing_kb(scene: Scene) -> int:
    """The most that was seen until nothing but a last portion is left for the text index to take up."""
    seen: list[int] = []

    def is_done() -> bool:
        seen.append(memory_kb(scene.server.pid))
        index = scene.api.request("GET", "/system/info").json()["search"]
        return index["status"] == "current" and not index["lag_s"] and index["waiting"] < PORTION

    until(is_done, within_s=60, what="the text index has taken up what was queued")
    return max(seen)


def test_a_hundred_thousand_queued_executions_cost_no_more_than_a_hundred(stage: Scene) -> None:
    # The one slot is taken by the first, so that the others stay queued, and claiming is tried all the time.
    stage.server.arguments = ("--slots", "1", "--drain", "0s", "--grace", "0s")
    stage.server.start()
    queue(stage, FEW)
    few_kb = memory_kb(stage.server.pid)
    queue(stage, FULL_AT - FEW)
    full_kb = memory_kb(stage.server.pid)
    queue(stage, MANY - FULL_AT)
    many_kb = memory_kb(stage.server.pid)
    rows = stage.api.get("/executions/stats", group_by="status")["data"]
    assert {row["status"]: row["count"] for row in rows} == {"running": 1, "queued": MANY - 1}
    assert many_kb - full_kb < SLACK_KB, "what is queued is kept in memory"
    assert many_kb - few_kb < CACHES_KB

    assert stage.server.stop() == 0
    stage.server.start()
    assert peak_while_indexing_kb(stage) < few_kb + PORTION_KB, "what the index has to take up is kept in memory"

    assert stage.server.stop() == 0
    stage.server.start()
    rows = stage.api.get("/executions/stats", group_by="status")["data"]
    assert sum(row["count"] for row in rows) == MANY
    begun_kb = memory_kb(stage.server.pid)
    assert begun_kb < few_kb + SLACK_KB, "what was queued is taken into memory at the start"
