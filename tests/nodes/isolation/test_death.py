"""What is stopped is really dead before it is said to be, and nothing outlives its attempt or its engine."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.model.definition import Isolation
from perdure.nodes.interface import NodeFailed
from perdure.nodes.isolation import linux
from perdure.nodes.isolation.supervision import Supervision
from tests.nodes.conftest import Nodes, RecordingSink, gone, is_running, make_call

DAEMON = "(setsid env -i sleep 1000 & echo daemon=$!) "
"""A double fork in a session of its own with no environment, reparented at once."""

REFUSER = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("pid=%d" % os.getpid(), flush=True)
while True:
    signal.pause()
"""


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def pid_in(sink: RecordingSink, name: str = "pid") -> int:
    return int(await sink.line(f"{name}="))


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("echo pid=$$; exec sleep 1000", ["pid"]),
        ("trap '' TERM; echo pid=$$; while :; do sleep 1000; done", ["pid"]),
        ("setsid sleep 1000 & echo pid=$!; wait", ["pid"]),
        (DAEMON + "; echo pid=$$; exec sleep 1000", ["pid", "daemon"]),
        (f"python3 -c '{REFUSER}'".replace('"', '\\"').replace("'", '"', 2) + " & wait", ["pid"]),
    ],
    ids=["sleeps", "ignores TERM", "setsid grandchild", "daemon", "grandchild that ignores TERM"],
)
async def test_a_cancelled_command_is_dead_with_all_that_it_started(
    nodes: Nodes, command: str, names: list[str]
) -> None:
    task, sink = nodes.start("shell", command, grace_us=100_000)
    pids = [await pid_in(sink, name) for name in names]
    assert all(map(is_running, pids))
    await cancelled(task)
    assert not any(map(is_running, pids))


async def test_a_command_that_takes_its_term_may_clean_up(nodes: Nodes) -> None:
    command = "trap 'echo cleaned; exit 0' TERM; echo pid=$$; while :; do sleep 0.01; done"
    task, sink = nodes.start("shell", command, grace_us=60_000_000)
    await pid_in(sink)
    await cancelled(task)
    assert "cleaned" in sink.lines


async def test_a_tree_that_forks_all_the_time_is_caught(nodes: Nodes) -> None:
    # Each process lives for a moment only: whoever looks for it finds its child instead.
    comet = "import os,time\nprint('pid=%d' % os.getpid(), flush=True)\nwhile True:\n    if os.fork(): os._exit(0)\n"
    nodes.module("comet", comet)
    command = f"{sys.executable} comet.py & trap '' TERM; echo keeper=$PPID; sleep 1000"
    task, sink = nodes.start("shell", command, grace_us=20_000)
    keeper = await pid_in(sink, "keeper")
    await pid_in(sink)
    await cancelled(task)
    assert "comet.py" not in all_commands()
    cgroup = linux.own_cgroup()
    assert cgroup is None or not any(name.startswith(f"perdure-{keeper}") for name in os.listdir(cgroup))


def all_commands() -> str:
    texts = []
    for pid in linux.all_processes():
        try:
            texts.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)


async def test_what_a_finished_command_leaves_behind_is_dead_before_its_result(nodes: Nodes) -> None:
    sink = RecordingSink()
    output = await nodes.run("shell", DAEMON, sink=sink)
    assert output["exit_code"] == 0
    assert not is_running(await pid_in(sink, "daemon"))


@pytest.mark.parametrize("type_name", ["shell", "python"])
async def test_a_stop_can_be_hurried(nodes: Nodes, type_name: str) -> None:
    nodes.module("work", BUSY)
    config = "trap '' TERM; echo pid=$$; while :; do sleep 1000; done" if type_name == "shell" else "work:stubborn"
    sink = RecordingSink()
    call = make_call(config, sink=sink, grace_us=3_600_000_000)
    task = asyncio.create_task(nodes.types[type_name].run(call))
    pid = await pid_in(sink)
    task.cancel()
    await asyncio.sleep(0)
    call.grace_us = 0
    await cancelled(task)
    assert not is_running(pid)


async def test_a_second_cancel_does_not_let_the_attempt_end_early(nodes: Nodes) -> None:
    task, sink = nodes.start("shell", "trap '' TERM; echo pid=$$; while :; do sleep 1000; done", grace_us=200_000)
    pid = await pid_in(sink)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    await cancelled(task)
    assert not is_running(pid)


BUSY = """
import os
def busy():
    print(f"pid={os.getpid()}")
    while True:
        pass
def stubborn():
    while True:
        try:
            busy()
        except BaseException as error:
            print(f"caught={type(error).__name__}")
def tidy():
    try:
        busy()
    finally:
        print("cleaned")
def swallows():
    try:
        busy()
    except BaseException:
        return "swallowed"
async def later():
    import asyncio
    print(f"pid={os.getpid()}")
    await asyncio.sleep(1000)
"""


@pytest.mark.parametrize("function", ["busy", "stubborn", "tidy"])
async def test_a_cancelled_sync_function_is_dead(nodes: Nodes, function: str) -> None:
    nodes.module("work", BUSY)
    task, sink = nodes.start("python", f"work:{function}")
    pid = await pid_in(sink)
    await cancelled(task)
    assert not is_running(pid)
    assert ("cleaned" in sink.lines) == (function == "tidy")
    assert ("caught=AttemptStopped" in sink.lines) == (function == "stubborn")


@pytest.mark.parametrize("function", ["busy", "tidy", "swallows", "later"])
async def test_a_sync_function_that_takes_its_term_does_not_use_up_the_grace(nodes: Nodes, function: str) -> None:
    nodes.module("work", BUSY)
    task, sink = nodes.start("python", f"work:{function}", grace_us=3_600_000_000, isolation=Isolation.PROCESS)
    pid = await pid_in(sink)
    async with asyncio.timeout(20):
        await cancelled(task)
    assert not is_running(pid)
    assert ("cleaned" in sink.lines) == (function == "tidy")


async def test_a_cancelled_function_takes_its_child_processes_with_it(nodes: Nodes) -> None:
    nodes.module(
        "work",
        "import subprocess\n"
        "def start():\n"
        "    child = subprocess.Popen(['setsid', 'sleep', '1000'])\n"
        "    print(f'pid={child.pid}')\n"
        "    child.wait()\n",
    )
    task, sink = nodes.start("python", "work:start")
    pid = await pid_in(sink)
    await cancelled(task)
    assert not is_running(pid)


@pytest.mark.parametrize("cleared", ["", ", env={}"])
async def test_what_a_finished_function_leaves_behind_is_dead_before_its_result(nodes: Nodes, cleared: str) -> None:
    nodes.module(
        "work",
        "import subprocess, os\n"
        "def start():\n"
        f"    child = subprocess.Popen('setsid sleep 1000 >/dev/null & echo $!', shell=True, stdout=subprocess.PIPE{cleared})\n"
        "    return {'pid': int(child.communicate()[0]), 'me': os.getpid()}\n"
        "def me():\n"
        "    return os.getpid()\n",
    )
    output = await nodes.run("python", "work:start")
    assert not is_running(output["pid"])
    assert await nodes.run("python", "work:me") != output["me"]


async def test_a_thread_that_a_finished_function_left_behind_does_not_run_on(nodes: Nodes) -> None:
    nodes.module(
        "work",
        "import threading, time, os\n"
        "def start():\n"
        "    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "    return os.getpid()\n",
    )
    assert not is_running(await nodes.run("python", "work:start"))


async def test_a_killed_supervisor_takes_the_attempts_with_it_and_is_replaced(nodes: Nodes) -> None:
    task, sink = nodes.start("shell", DAEMON + "; echo pid=$$; exec sleep 1000")
    pids = [await pid_in(sink), await pid_in(sink, "daemon")]
    supervisor = nodes.runtime.supervision.pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    with pytest.raises(NodeFailed) as caught:
        await task
    assert caught.value.failure.code == "process_died"
    assert not any(map(is_running, pids))
    assert (await nodes.run("shell", "echo again"))["stdout"] == "again\n"
    assert nodes.runtime.describe()["supervisor"]["restarts"] == 1


async def test_a_killed_keeper_leaves_nothing(nodes: Nodes) -> None:
    task, sink = nodes.start("shell", DAEMON + "; setsid sleep 1000 & echo pid=$$ keeper=$PPID; wait")
    pid, keeper = (await sink.line("pid=")).split(" keeper=")
    daemon = await pid_in(sink, "daemon")
    os.kill(int(keeper), signal.SIGKILL)
    with pytest.raises(NodeFailed) as caught:
        await task
    assert caught.value.failure.code == "process_died"
    assert "keeper" in caught.value.failure.message
    assert not is_running(int(pid))
    assert not is_running(daemon)


async def test_supervisor_and_keeper_killed_at_once_leave_nothing_with_its_mark(nodes: Nodes) -> None:
    task, sink = nodes.start("shell", "setsid sleep 1000 & echo pid=$! keeper=$PPID; wait")
    pid, keeper = (await sink.line("pid=")).split(" keeper=")
    supervisor = nodes.runtime.supervision.pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(int(keeper), signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    with pytest.raises(NodeFailed):
        await task
    assert not is_running(int(pid))


ENGINE = """
import asyncio, os, sys
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings
from tests.nodes.conftest import RecordingSink, make_call

class Printing(RecordingSink):
    def log(self, level, message, *, stream=None, at=None):
        os.write(1, f"{message}\\n".encode())

async def main():
    runtime = NodeRuntime(RuntimeSettings(home=sys.argv[1], flow_folders=(sys.argv[2],)))
    await runtime.start()
    types = load_node_types(runtime)
    os.write(1, f"pid={runtime.supervision.pid}\\n".encode())
    await asyncio.gather(
        types["shell"].run(make_call(sys.argv[3], sink=Printing())),
        types["python"].run(make_call("work:busy", sink=Printing())),
    )

asyncio.run(main())
"""


async def test_nothing_outlives_an_engine_that_is_killed(tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "work.py").write_text(BUSY)
    command = f"trap '' TERM; {DAEMON}; setsid sleep 1000 & echo pid=$!; echo pid=$$; echo pid=$PPID; sleep 1000"
    root = Path(__file__).parents[3]
    engine = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", ENGINE, str(tmp_path / "home"), str(flows), command],
        stdout=subprocess.PIPE,
        cwd=root,
        text=True,
    )
    assert engine.stdout is not None
    pids: list[int] = []
    with engine.stdout as output:
        while len(pids) < 6:
            name, _, value = (await asyncio.to_thread(output.readline)).partition("=")
            if name in {"pid", "daemon"}:
                pids.append(int(value))
        assert all(map(is_running, pids))
        engine.kill()
        engine.wait()
    for pid in pids:
        await gone(pid)
    assert not any(map(is_running, pids))


def test_a_pid_that_another_process_has_got_is_not_signalled() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        seen = linux.look_at(process.pid)
        assert seen is not None
        linux.send(seen._replace(started=seen.started - 1), signal.SIGKILL)
        assert process.poll() is None
        linux.send(seen, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


async def test_the_supervisor_is_small(nodes: Nodes) -> None:
    assert nodes.runtime.supervision.pid is not None
    assert resident_kb(nodes.runtime.supervision.pid) < 20_000


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


async def test_stopping_the_runtime_ends_what_still_runs(tmp_path: Path, nodes: Nodes) -> None:
    task, sink = nodes.start("shell", "echo pid=$$; exec sleep 1000")
    pid = await pid_in(sink)
    supervisor = nodes.runtime.supervision.pid
    await nodes.runtime.stop()
    assert supervisor is not None
    assert not is_running(pid)
    assert not is_running(supervisor)
    with pytest.raises(NodeFailed):
        await task


async def test_nothing_of_an_attempt_stays_open_in_the_engine(nodes: Nodes) -> None:
    nodes.module("work", BUSY + "def fine(): return 1\n")
    counts = []
    for _ in range(8):
        await nodes.run("shell", "echo x")
        await nodes.failure("shell", "exit 1")
        await nodes.failure("shell", {"run": "true", "cwd": "/nowhere"})
        await nodes.run("python", "work:fine")
        task, sink = nodes.start("python", "work:busy")
        await pid_in(sink)
        await cancelled(task)
        counts.append(len(os.listdir("/proc/self/fd")))
    # The lines to keepers are closed a moment after the attempt's end.
    assert max(counts[4:]) <= max(counts[:4]) + 2, counts


async def test_a_stop_while_the_process_is_being_started_leaves_nothing(nodes: Nodes) -> None:
    for turns in range(12):
        call = make_call("exec sleep 1000.25")
        task = asyncio.create_task(nodes.types["shell"].run(call))
        for _ in range(turns):
            await asyncio.sleep(0)
        await cancelled(task)
    assert "1000.25" not in all_commands()


async def test_a_supervisor_whose_start_is_cancelled_is_gone() -> None:
    before = set(linux.descendants(os.getpid()))
    supervision = Supervision()
    starting = asyncio.ensure_future(supervision.start())
    # Its first step forks.
    await asyncio.sleep(0)
    assert set(linux.descendants(os.getpid())) > before
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert set(linux.descendants(os.getpid())) <= before
    await supervision.stop()
