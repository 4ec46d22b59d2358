"""Python functions in warm processes: results, failures, and what one attempt cannot do to the next."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure.base.codec import VALUE_LIMIT
from perdure.model.definition import Isolation
from perdure.nodes.interface import NodeCrashed
from tests.nodes.conftest import Nodes, RecordingSink, is_running, make_call, running_nodes

ANYWHERE = [Isolation.INLINE, Isolation.PROCESS, Isolation.THREAD]

WORK = """
import asyncio, dataclasses, datetime, enum, os, threading

@dataclasses.dataclass
class Point:
    x: int
    at: datetime.datetime

def add(a, b=1): return a + b
async def add_later(a, b=1):
    await asyncio.sleep(0)
    return a + b
def count(n):
    for i in range(n): yield i
async def count_later(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i
def rich(): return Point(1, datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)), {"s": {3}}
def foreign(): return {"deep": [1, object()]}
def surrogate(): return "\\ud800"
def endless():
    value = []
    value.append(value)
    return value
def large(size): return "x" * size
def stream(size):
    while True: yield "x" * size
def whoami(): return os.getpid()
def ident(): return [os.getpid(), threading.get_ident()]
async def ident_later(): return [os.getpid(), threading.get_ident()]
class Report:
    @classmethod
    def build(cls, name): return f"{cls.__name__} {name}"
class Late(LookupError):
    pass
def inner(): raise Late("nothing there")
def bad(): inner()
async def bad_later():
    await asyncio.sleep(0)
    inner()
def chained():
    try: inner()
    except Late as error: raise ValueError("outer") from error
def unprintable():
    class Odd(Exception):
        def __str__(self): raise RuntimeError("no text")
    raise Odd
def leaves(): raise SystemExit(3)
async def leaves_later(): raise SystemExit(3)
async def interrupts(): raise KeyboardInterrupt
"""


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    async with running_nodes(tmp_path_factory.mktemp("python")) as running:
        running.module("work", WORK)
        yield running


@pytest.fixture(autouse=True)
def places(nodes: Nodes) -> None:
    nodes.runtime.resize(pool_size=2)


@pytest.mark.parametrize("isolation", [None, *ANYWHERE])
@pytest.mark.parametrize(
    ("target", "arguments", "output"),
    [
        ("work:add", {"a": 2}, 3),
        ("work:add_later", {"a": 2, "b": 3}, 5),
        ("work:count", {"n": 3}, [0, 1, 2]),
        ("work:count_later", {"n": 3}, [0, 1, 2]),
        ("work:rich", {}, [{"x": 1, "at": "2026-01-02T00:00:00Z"}, {"s": [3]}]),
        ("work:Report.build", {"name": "a"}, "Report a"),
    ],
)
async def test_every_kind_of_function_gives_the_same_output_in_every_isolation(
    nodes: Nodes, isolation: Isolation | None, target: str, arguments: dict[str, object], output: object
) -> None:
    assert await nodes.run("python", target, with_=arguments, isolation=isolation) == output


async def test_the_target_may_stand_under_call(nodes: Nodes) -> None:
    assert await nodes.run("python", {"call": "work:add"}, with_={"a": 1}) == 2


async def test_sync_functions_run_in_a_process_and_async_ones_in_the_loop(nodes: Nodes) -> None:
    assert await nodes.run("python", "work:whoami") != os.getpid()
    assert (await nodes.run("python", "work:ident_later"))[0] == os.getpid()
    pid, thread = await nodes.run("python", "work:ident", isolation=Isolation.THREAD)
    assert pid == os.getpid()
    assert thread != (await nodes.run("python", "work:ident_later"))[1]
    assert (await nodes.run("python", "work:ident_later", isolation=Isolation.PROCESS))[0] != os.getpid()


async def test_a_sync_function_is_never_imported_into_the_engine(nodes: Nodes) -> None:
    nodes.module("who", "import os\nIMPORTED_IN = os.getpid()\ndef tell(): return IMPORTED_IN\n")
    assert await nodes.run("python", "who:tell") != os.getpid()


async def test_processes_are_kept_warm(nodes: Nodes) -> None:
    assert len({await nodes.run("python", "work:whoami") for _ in range(5)}) == 1


async def test_no_more_processes_than_the_pool_has_places(nodes: Nodes) -> None:
    nodes.runtime.resize(pool_size=2)
    pids = await asyncio.gather(*(nodes.run("python", "work:whoami") for _ in range(12)))
    assert len(set(pids)) <= 2


@pytest.mark.parametrize("isolation", ANYWHERE)
@pytest.mark.parametrize("target", ["work:bad", "work:bad_later"])
async def test_an_exception_is_a_failure_with_the_users_frames(nodes: Nodes, isolation: Isolation, target: str) -> None:
    failure = await nodes.failure("python", target, isolation=isolation)
    assert failure.code == "node_failed"
    assert failure.message == "Late: nothing there"
    assert failure.error_types[:4] == ("Late", "LookupError", "Exception", "BaseException")
    frames = [line for line in failure.stack.splitlines() if line.startswith("  File")]
    assert len(frames) == 2
    assert all("work.py" in frame for frame in frames)
    assert failure.retryable


async def test_the_cause_of_an_exception_is_in_the_stack(nodes: Nodes) -> None:
    failure = await nodes.failure("python", "work:chained")
    assert failure.message == "ValueError: outer"
    assert "Late: nothing there" in failure.stack
    assert "direct cause" in failure.stack


@pytest.mark.parametrize("isolation", ANYWHERE)
async def test_an_exception_without_a_text_is_a_failure(nodes: Nodes, isolation: Isolation) -> None:
    failure = await nodes.failure("python", "work:unprintable", isolation=isolation)
    assert "Odd" in failure.message


@pytest.mark.parametrize("isolation", ANYWHERE)
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("work:leaves", "SystemExit: 3"),
        ("work:leaves_later", "SystemExit: 3"),
        ("work:interrupts", "KeyboardInterrupt"),
    ],
)
async def test_code_that_wants_to_leave_only_fails(
    nodes: Nodes, isolation: Isolation, target: str, message: str
) -> None:
    assert (await nodes.failure("python", target, isolation=isolation)).message == message


@pytest.mark.parametrize("isolation", ANYWHERE)
@pytest.mark.parametrize(
    ("target", "type_name"), [("work:foreign", "object"), ("work:surrogate", "str"), ("work:endless", "list")]
)
async def test_an_output_that_is_no_json_names_the_type(
    nodes: Nodes, isolation: Isolation, target: str, type_name: str
) -> None:
    failure = await nodes.failure("python", target, isolation=isolation)
    assert failure.code == "invalid_output"
    assert failure.details == {"type": type_name}
    assert not failure.retryable


@pytest.mark.parametrize("isolation", ANYWHERE)
async def test_an_output_over_the_limit_is_refused(nodes: Nodes, isolation: Isolation) -> None:
    assert len(await nodes.run("python", "work:large", with_={"size": VALUE_LIMIT - 2}, isolation=isolation))
    failure = await nodes.failure("python", "work:large", with_={"size": VALUE_LIMIT - 1}, isolation=isolation)
    assert failure.code == "limit_exceeded"
    assert failure.details["limit_bytes"] == VALUE_LIMIT


@pytest.mark.parametrize("isolation", ANYWHERE)
async def test_a_generator_without_end_stops_at_the_limit(nodes: Nodes, isolation: Isolation) -> None:
    failure = await nodes.failure("python", "work:stream", with_={"size": 2**20}, isolation=isolation)
    assert failure.code == "limit_exceeded"


@pytest.mark.parametrize("isolation", ANYWHERE)
async def test_what_a_generator_yields_is_told_as_progress(nodes: Nodes, isolation: Isolation) -> None:
    sink = RecordingSink()
    await nodes.run("python", "work:count", with_={"n": 3}, isolation=isolation, sink=sink)
    assert sink.told == [(None, "1 yielded"), (None, "2 yielded"), (None, "3 yielded")]
    many = RecordingSink()
    await nodes.run("python", "work:count", with_={"n": 5000}, isolation=isolation, sink=many)
    assert 100 <= len(many.told) < 1000


@pytest.mark.parametrize("isolation", [None, *ANYWHERE])
@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("nowhere:f", "no module 'nowhere'"),
        ("nowhere.deep:f", "no module 'nowhere.deep'"),
        ("work:nothing", "has no 'nothing'"),
        ("work:Report.nothing", "has no 'Report.nothing'"),
        ("work:os", "is no function but module"),
    ],
)
async def test_a_missing_function_is_named(nodes: Nodes, isolation: Isolation | None, target: str, part: str) -> None:
    failure = await nodes.failure("python", target, isolation=isolation)
    assert failure.code == "function_not_found"
    assert part in failure.message
    assert not failure.retryable


@pytest.mark.parametrize("isolation", [None, *ANYWHERE])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import missing_thing\n", "ModuleNotFoundError: No module named 'missing_thing'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def f(:\n", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ("raise SystemExit(1)\n", "SystemExit: 1"),
    ],
)
async def test_a_module_that_cannot_be_imported_fails_its_node(
    nodes: Nodes, isolation: Isolation | None, text: str, message: str
) -> None:
    nodes.module("broken", text)
    failure = await nodes.failure("python", "broken:f", isolation=isolation)
    assert (failure.code, failure.message) == ("node_failed", message)


@pytest.mark.parametrize("isolation", ANYWHERE)
async def test_wrong_arguments_fail_the_node(nodes: Nodes, isolation: Isolation) -> None:
    failure = await nodes.failure("python", "work:add", with_={"c": 1}, isolation=isolation)
    assert failure.message.startswith("TypeError: add() got an unexpected keyword argument 'c'")


@pytest.mark.parametrize(
    ("code", "signal_name", "exit_code", "part"),
    [
        ("os.abort()", "SIGABRT", None, "killed by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL", None, "out of memory?"),
        ("os._exit(7)", None, 7, "exit code 7"),
        ("os.close(4)", None, 0, "exit code 0"),
        ("os.close(4)\n    time.sleep(1000)", None, None, "broke its line"),
        ("ctypes.string_at(0)", "SIGSEGV", None, "killed by SIGSEGV"),
        ("os.write(4, b'\\xff' * 100)\n    time.sleep(1000)", None, None, "broke its line"),
    ],
)
async def test_the_death_of_a_process_is_a_failure_and_the_pool_goes_on(
    nodes: Nodes, code: str, signal_name: str | None, exit_code: int | None, part: str
) -> None:
    nodes.module("deadly", f"import ctypes, os, signal, time\ndef die():\n    {code}\n")
    failure = await nodes.failure("python", "deadly:die")
    assert failure.code == "process_died"
    assert failure.details["exit_code"] == exit_code
    assert failure.details["signal"] == signal_name
    assert part in failure.message
    assert await nodes.run("python", "work:add", with_={"a": 1}) == 2


async def test_an_import_that_kills_its_process_fails_the_node(nodes: Nodes) -> None:
    nodes.module("deadly", "import os\nos.abort()\n")
    assert (await nodes.failure("python", "deadly:f")).code == "process_died"


async def test_what_was_printed_before_a_crash_is_not_lost(nodes: Nodes) -> None:
    nodes.module("deadly", "import os\ndef die():\n    print('last words')\n    os.abort()\n")
    sink = RecordingSink()
    await nodes.failure("python", "deadly:die", sink=sink)
    assert sink.lines[0] == "last words"
    assert any("Fatal Python error: Aborted" in line for line in sink.lines)


async def test_memory_that_a_limit_refuses_hurts_only_the_attempt(nodes: Nodes) -> None:
    nodes.module(
        "hungry",
        "import os, resource\n"
        "def eat():\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))\n"
        "    return bytearray(2**30)\n"
        "def me(): return os.getpid(), resource.getrlimit(resource.RLIMIT_AS)[0]\n",
    )
    pid, limit = await nodes.run("python", "hungry:me")
    assert (await nodes.failure("python", "hungry:eat")).message == "MemoryError"
    assert not is_running(pid)
    assert (await nodes.run("python", "hungry:me"))[1] == limit


async def test_a_quarantined_attempt_has_a_process_of_its_own(nodes: Nodes) -> None:
    nodes.module("deadly", "import os\nasync def die(): os.abort()\nasync def me(): return os.getpid()\n")
    with pytest.raises(NodeCrashed) as caught:
        await nodes.run("python", "deadly:die", quarantine=True)
    assert caught.value.failure.code == "process_died"
    pid = await nodes.run("python", "deadly:me", quarantine=True)
    assert pid not in {os.getpid(), await nodes.run("python", "deadly:me", quarantine=True)}


async def test_an_attempt_leaves_nothing_changed_for_the_next(nodes: Nodes) -> None:
    nodes.module(
        "messy",
        "import os, sys, signal\n"
        "def mess():\n"
        "    os.chdir('/')\n"
        "    os.environ['LEFT'] = 'yes'\n"
        "    del os.environ['PATH']\n"
        "    sys.path.insert(0, '/nowhere')\n"
        "    os.umask(0o777)\n"
        "def look():\n"
        "    mask = os.umask(0)\n"
        "    os.umask(mask)\n"
        "    return [os.getcwd(), os.environ.get('LEFT'), 'PATH' in os.environ, '/nowhere' in sys.path, mask]\n",
    )
    before = await nodes.run("python", "messy:look")
    await nodes.run("python", "messy:mess")
    assert await nodes.run("python", "messy:look") == before


async def test_env_and_the_attempts_names_are_in_the_environment(nodes: Nodes) -> None:
    nodes.module(
        "env",
        "import os, perdure\n"
        "def look():\n"
        "    context = perdure.context()\n"
        "    return [os.environ['COLOUR'], context.env['COLOUR'], context.attempt_id == os.environ['PERDURE_ATTEMPT_ID'],\n"
        "            context.node, context.ordinal, context.flow, context.execution_id]\n"
        "async def look_inline(): return [perdure.context().env['COLOUR'], perdure.context().attempt]\n",
    )
    output = await nodes.run("python", "env:look", env={"COLOUR": "red"}, execution_id="e", ordinal=4)
    assert output == ["red", "red", True, "work", 4, "default/test", "e"]
    assert await nodes.run("python", "env:look_inline", env={"COLOUR": "red"}) == ["red", 1]


async def test_streams_that_one_attempt_has_replaced_are_those_of_the_next_again(nodes: Nodes) -> None:
    nodes.module("mute", "import io, sys\ndef mute(): sys.stdout = io.StringIO()\ndef say(): print('heard')\n")
    await nodes.run("python", "mute:mute")
    sink = RecordingSink()
    await nodes.run("python", "mute:say", sink=sink)
    assert sink.lines == ["heard"]


async def test_an_alarm_that_one_attempt_has_set_does_not_strike_the_next(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, pool_size=1) as nodes:
        nodes.module("alarm", "import os, signal\ndef pid(s=0):\n    signal.alarm(s)\n    return os.getpid()\n")
        first = await nodes.run("python", "alarm:pid")
        assert await nodes.run("python", "alarm:pid", with_={"s": 1000}) == first
        assert await nodes.run("python", "alarm:pid") != first


@pytest.mark.parametrize("is_async", [False, True])
async def test_changed_code_is_read_anew(nodes: Nodes, is_async: bool) -> None:
    prefix = "async " if is_async else ""
    for value in range(3):
        nodes.module("changing", f"{prefix}def f(): return {value}\n")
        later = time.time_ns() + value * 10**9
        os.utime(nodes.folder / "changing.py", ns=(later, later))
        assert await nodes.run("python", "changing:f") == value


@pytest.mark.parametrize("is_async", [False, True])
async def test_recycle_reads_all_code_anew(nodes: Nodes, is_async: bool) -> None:
    prefix = "async " if is_async else ""
    nodes.module("changing", f"import part\n{prefix}def f(): return part.VALUE\n")
    for value in range(2):
        (nodes.folder / "part.py").write_text(f"VALUE = {value}{' ' * value}\n")
        nodes.runtime.recycle()
        assert await nodes.run("python", "changing:f") == value


async def test_a_module_beside_is_read_anew_however_often_another_function_is_called(nodes: Nodes) -> None:
    (nodes.folder / "beside.py").write_text("VALUE = 'old'\n")
    nodes.module("often", "def f(): return None\n")
    nodes.module("seldom", "import beside\ndef f(): return beside.VALUE\n")
    await nodes.run("python", "often:f")
    assert await nodes.run("python", "seldom:f") == "old"
    (nodes.folder / "beside.py").write_text("VALUE = 'newer'\n")
    loop = asyncio.get_running_loop()
    # Files beside a function's own are looked at twice a second.
    until = loop.time() + 0.6
    while loop.time() < until:
        await nodes.run("python", "often:f")
    assert await nodes.run("python", "seldom:f") == "newer"


async def test_a_function_may_come_from_the_environment(nodes: Nodes) -> None:
    assert await nodes.run("python", "textwrap:shorten", with_={"text": "a b c", "width": 5}) == "a b c"


async def test_a_flow_folder_comes_before_the_environment(nodes: Nodes) -> None:
    nodes.module("click", "def f(): return 'mine'\nasync def g(): return 'mine'\n")
    assert await nodes.run("python", "click:f") == "mine"


async def test_a_flow_folder_cannot_replace_the_engines_standard_library(nodes: Nodes) -> None:
    nodes.module("wave", "def f(): return 'mine'\n")
    failure = await nodes.failure("python", "wave:f", isolation=Isolation.INLINE)
    assert failure.code == "function_not_found"


async def test_a_module_in_a_subfolder_needs_no_init_file(nodes: Nodes) -> None:
    (nodes.folder / "reports").mkdir(exist_ok=True)
    (nodes.folder / "reports" / "text.py").write_text("def f(): return 1\n")
    assert await nodes.run("python", "reports.text:f") == 1


@pytest.mark.parametrize("isolation", ANYWHERE)
async def test_artifacts_are_stored_before_they_are_told(nodes: Nodes, isolation: Isolation, tmp_path: Path) -> None:
    nodes.module(
        "files",
        "from perdure import artifact\n"
        "def make(path):\n"
        "    with open(path, 'w') as file: file.write('<p>')\n"
        "    return [artifact(path), artifact(b'{}', 'data/x.json'), artifact(path, 'y', 'text/x')]\n",
    )
    sink = RecordingSink()
    output = await nodes.run(
        "python", "files:make", with_={"path": str(tmp_path / "page.html")}, isolation=isolation, sink=sink
    )
    names = [(one["name"], one["media_type"], one["size_bytes"]) for one in sink.artifacts]
    assert names == [("page.html", "text/html", 3), ("data/x.json", "application/json", 2), ("y", "text/x", 3)]
    assert [one["sha256"] for one in output] == [one["sha256"].hex() for one in sink.artifacts]
    for one in sink.artifacts:
        assert await nodes.runtime.storage.size(one["sha256"]) == one["size_bytes"]
        assert (nodes.runtime.storage.root / one["path"]).is_file()


@pytest.mark.parametrize("isolation", ANYWHERE)
@pytest.mark.parametrize(
    "call",
    ["artifact(b'')", "artifact(b'', '../x')", "artifact('/nowhere')", "artifact('link')", "artifact('/dev/zero')"],
)
async def test_what_is_no_file_of_the_node_is_refused(
    nodes: Nodes, tmp_path: Path, isolation: Isolation, call: str
) -> None:
    link = tmp_path / "link"
    link.symlink_to("/etc/hostname")
    call = call.replace("'link'", repr(str(link)))
    nodes.module("files", f"from perdure import artifact\ndef make(): {call}\n")
    sink = RecordingSink()
    failure = await nodes.failure("python", "files:make", isolation=isolation, sink=sink)
    assert failure.error_types[0] in {"ValueError", "OSError", "FileNotFoundError"}
    assert not sink.artifacts


@pytest.mark.parametrize("isolation", ANYWHERE)
async def test_progress_is_told(nodes: Nodes, isolation: Isolation) -> None:
    nodes.module("slow", "from perdure import progress\ndef f():\n    progress(0.5, 'half')\n    progress()\n")
    sink = RecordingSink()
    await nodes.run("python", "slow:f", isolation=isolation, sink=sink)
    assert sink.told == [(0.5, "half"), (None, None)]


async def test_a_process_that_was_forked_by_a_node_prints_but_does_not_disturb(nodes: Nodes) -> None:
    nodes.module(
        "forks",
        "import os\n"
        "def f():\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        print('from the child', flush=True)\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "    return 'fine'\n",
    )
    sink = RecordingSink()
    assert await nodes.run("python", "forks:f", sink=sink) == "fine"
    assert sink.lines == ["from the child"]


async def test_a_warm_process_answers_within_milliseconds(nodes: Nodes) -> None:
    await nodes.run("python", "work:whoami")
    begin = time.perf_counter()
    for _ in range(100):
        await nodes.run("python", "work:whoami")
    assert (time.perf_counter() - begin) / 100 < 0.01


async def test_an_async_function_does_not_wait_for_a_place(nodes: Nodes) -> None:
    nodes.runtime.resize(pool_size=1)
    nodes.module("slow", "import time\ndef f():\n    print('begun')\n    time.sleep(1000)\n")
    nodes.module("quick", "async def f(): return 'done'\n")
    task, sink = nodes.start("python", "slow:f")
    await sink.line("begun")
    assert await nodes.run("python", "quick:f") == "done"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_waiting_for_a_place_can_be_cancelled(nodes: Nodes) -> None:
    nodes.runtime.resize(pool_size=1)
    nodes.module("slow", "import time\ndef f():\n    print('begun')\n    time.sleep(1000)\n")
    first, sink = nodes.start("python", "slow:f")
    await sink.line("begun")
    second = asyncio.create_task(nodes.types["python"].run(make_call("slow:f")))
    await asyncio.sleep(0)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await nodes.run("python", "work:add", with_={"a": 1}) == 2
