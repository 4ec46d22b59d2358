"""A cleaning up that hangs is cut short from another process, and what hung is dead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perdure.client.client import Client
from perdure.client.errors import WaitTimedOut
from tests.cluster.conftest import Begin
from tests.faults.harness.waiting import until

PATIENCE_S = 30
HANGING = """
id: hanging
nodes:
  work: {sleep: 1h}
  clean: {shell: 'trap "" TERM; echo $$ > "$FILE"; while true; do sleep 1; done', run_if: always, needs: [work],
          with: {}, env: {FILE: "${input.file}"}}
input: {file: {type: string}}
"""


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_force_ends_a_cleaning_up_that_hangs_at_a_worker_elsewhere(begin: Begin, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with Client(begin("server", "serve", "--no-worker").url) as client:
        begin("a", "worker")
        client.flows.put("hanging", HANGING)
        handle = client.executions.start("hanging", input={"file": str(file)})
        until(lambda: handle.refresh().status == "suspended", within_s=PATIENCE_S, what="it sleeps")
        assert handle.cancel(reason="enough").status == "cancelling"
        until(lambda: file.exists() and file.read_text().endswith("\n"), within_s=PATIENCE_S, what="it cleans up")
        pid = int(file.read_text())
        with pytest.raises(WaitTimedOut):
            handle.wait(timeout=0.5)
        handle.cancel(force=True)
        record = handle.wait(timeout=PATIENCE_S)
        assert (record.status, record.reason, lives(pid)) == ("cancelled", "enough", False)
        [clean] = [run for run in handle.nodes() if run.node == "clean"]
        assert clean.status == "cancelled"
