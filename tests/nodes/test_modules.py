"""Finding functions of modules that other threads are about to import."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace

import pytest

from perdure.nodes.modules import load_function

SLOW = """
import slow_gate
slow_gate.entered.set()
assert slow_gate.open.wait(20)
def late(): return "late"
"""


def test_a_module_that_another_thread_is_importing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = SimpleNamespace(entered=threading.Event(), open=threading.Event())
    monkeypatch.setitem(sys.modules, "slow_gate", gate)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_import.py").write_text(SLOW)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(load_function, "slow_import:late")
        assert gate.entered.wait(20)
        second = pool.submit(load_function, "slow_import:late")
        # Whoever does not wait for the import has failed by then.
        wait([second], timeout=0.1)
        gate.open.set()
        assert first.result(20) is second.result(20)
    monkeypatch.delitem(sys.modules, "slow_import")
