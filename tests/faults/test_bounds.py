"""Promise B: whatever clients and flows do, a server holds no more than it needs."""

import os
from concurrent.futures import ThreadPoolExecutor

from tests.faults.harness.processes import usage
from tests.faults.harness.scene import Scene
from tests.faults.harness.waiting import until

EXECUTOR_THREADS = min(32, (os.cpu_count() or 1) + 4) + 2
"""asyncio.to_thread keeps so many at most (concurrent.futures), and a little."""


def test_a_thousand_executions_leave_no_descriptor_thread_or_process(scene: Scene) -> None:
    scene.api.start("faults/sync", wait_s=30)
    scene.api.start("faults/shell", {"ledger": scene.ledger}, wait_s=30)
    scene.api.start("faults/echo", {"value": 1}, wait_s=30)
    before = usage(scene.server.pid)

    def one_client(number: int) -> None:
        with scene.new_api() as api:
            for _ in range(30):
                api.start("faults/fan", {"items": list(range(20))})
                api.start("faults/one", wait_s=30)
            api.start("faults/sync", wait_s=60)
            api.start("faults/shell", {"ledger": scene.ledger}, wait_s=60)
            api.start("faults/poison", {"how": "abort"}, wait_s=60)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one_client, range(8)))
    scene.settle()

    def quiet() -> bool:
        after = usage(scene.server.pid)
        return after.descriptors <= before.descriptors + 8 and after.children <= before.children + 4

    until(quiet, within_s=30, what=f"back to {before} (now {usage(scene.server.pid)})")
    after = usage(scene.server.pid)
    assert after.threads <= before.threads + EXECUTOR_THREADS
    assert after.memory_kb <= before.memory_kb + 100 * 1024
    scene.verdict()
