"""What nodes print and log: order, levels, bytes that are no text, lines without end, and bounds."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.nodes.lines import MAX_LINE, LineSplitter
from tests.nodes.conftest import Nodes, RecordingSink, make_call, running_nodes


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    async with running_nodes(tmp_path_factory.mktemp("logs")) as running:
        yield running


async def test_prints_and_records_of_a_process_keep_their_order_and_levels(nodes: Nodes) -> None:
    nodes.module(
        "talk",
        "import logging, sys\n"
        "def f():\n"
        "    log = logging.getLogger('mine')\n"
        "    print('one')\n"
        "    log.info('two %d', 2)\n"
        "    print('three', file=sys.stderr)\n"
        "    log.warning('four')\n"
        "    sys.stdout.write('five\\nsi')\n"
        "    log.debug('not told')\n"
        "    sys.stdout.write('x\\n')\n"
        "    log.critical('seven')\n"
        "    sys.stdout.buffer.write(b'eight\\n')\n"
        "    log.error('nine %d %d', 9)\n"
        "    try: 1 / 0\n"
        "    except ZeroDivisionError: log.exception('ten')\n"
        "    print('eleven', end='')\n",
    )
    sink = RecordingSink()
    await nodes.run("python", "talk:f", sink=sink)
    assert [(level, message.split("\n")[0]) for level, message, _ in sink.logs] == [
        ("info", "one"),
        ("info", "two 2"),
        ("warning", "three"),
        ("warning", "four"),
        ("info", "five"),
        ("info", "six"),
        ("error", "seven"),
        ("info", "eight"),
        ("error", "'nine %d %d' (its arguments do not fit: not enough arguments for format string)"),
        ("error", "ten"),
        ("info", "eleven"),
    ]
    assert "ZeroDivisionError" in sink.lines[9]
    assert {stream for _, message, stream in sink.logs if message == "three"} == {"stderr"}


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_record_of_any_length_is_shortened(nodes: Nodes, kind: str) -> None:
    nodes.module(
        "wordy",
        "import logging\n"
        "from perdure import progress\n"
        f"{kind} f():\n"
        "    logging.warning('begin' + 'x' * 40_000_000 + 'end')\n"
        "    progress(0.5, 'x' * 40_000_000)\n"
        "    return 'done'\n",
    )
    sink = RecordingSink()
    assert await nodes.run("python", "wordy:f", sink=sink) == "done"
    (line,) = sink.lines
    assert line.startswith("begin")
    assert line.endswith("end")
    assert len(line) < 2 * MAX_LINE
    assert [len(message or "") for _, message in sink.told] == [10_000]


async def test_lines_arrive_while_the_node_runs(nodes: Nodes) -> None:
    nodes.module("wait", "import os, time\ndef f(path):\n    print('ask')\n    open(path).read()\n    return 1\n")
    fifo = nodes.folder / "fifo"
    sys.modules["os"].mkfifo(fifo)
    sink = RecordingSink()
    task = asyncio.create_task(nodes.types["python"].run(make_call("wait:f", with_={"path": str(fifo)}, sink=sink)))
    await sink.line("ask")
    assert not task.done()
    await asyncio.to_thread(fifo.write_text, "go")
    assert await task == 1


async def test_what_is_written_to_the_descriptors_is_told_too(nodes: Nodes) -> None:
    nodes.module(
        "raw",
        "import os, subprocess\n"
        "def f():\n"
        "    os.write(1, b'one\\n')\n"
        "    subprocess.run('echo two; echo three >&2; printf four', shell=True)\n",
    )
    sink = RecordingSink()
    await nodes.run("python", "raw:f", sink=sink)
    assert [line for level, line, _ in sink.logs if level == "info"] == ["one", "two", "four"]
    assert [line for level, line, _ in sink.logs if level == "warning"] == ["three"]


@pytest.mark.parametrize("type_name", ["shell", "python"])
async def test_bytes_that_are_no_text_are_told_all_the_same(nodes: Nodes, type_name: str) -> None:
    nodes.module("odd", "import sys\ndef f(): sys.stdout.buffer.write(b'a\\x00b\\n\\xff\\xfe\\n\\xc3\\xa4\\r\\n\\n')\n")
    config = r"printf 'a\000b\n\377\376\n\303\244\r\n\n'" if type_name == "shell" else "odd:f"
    sink = RecordingSink()
    await nodes.run(type_name, config, sink=sink)
    assert sink.lines == ["a\0b", "\ufffd\ufffd", "ä", ""]


@pytest.mark.parametrize("type_name", ["shell", "python"])
async def test_a_line_without_end_is_cut(nodes: Nodes, type_name: str) -> None:
    nodes.module("long", "def f():\n    print('x' * 5_000_000)\n    print('after')\n")
    config = "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo after" if type_name == "shell" else "long:f"
    sink = RecordingSink()
    await nodes.run(type_name, config, sink=sink)
    line, after = sink.lines
    assert line == "x" * MAX_LINE + f"… ({5_000_000 - MAX_LINE} bytes more)"
    assert after == "after"


class CountingSink(RecordingSink):
    """Takes lines slowly and keeps none."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.last = ""
        self.most_at_once = 0
        self._since_ready = 0

    def log(self, level: str, message: str, *, stream: str | None = None, at: int | None = None) -> None:
        self.count += 1
        self.last = message
        self._since_ready += 1

    async def ready(self) -> None:
        self.most_at_once = max(self.most_at_once, self._since_ready)
        self._since_ready = 0
        await asyncio.sleep(0)


@pytest.mark.parametrize(("type_name", "config"), [("shell", "seq 1000000"), ("python", "many:f")])
async def test_a_million_lines_need_no_memory(nodes: Nodes, type_name: str, config: str) -> None:
    nodes.module(
        "many",
        "def f():\n    print('\\n' * 899_999)\n    for i in range(900_001, 1_000_001): print(i)\n",
    )
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sink = CountingSink()
    await nodes.run(type_name, config, sink=sink)
    assert (sink.count, sink.last) == (1_000_000, "1000000")
    assert sink.most_at_once < 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 30_000


@pytest.mark.parametrize("type_name", ["shell", "python"])
async def test_a_sink_that_takes_nothing_holds_the_node_up(nodes: Nodes, type_name: str) -> None:
    nodes.module("flood", "def f():\n    while True: print('x' * 100)\n")
    sink = RecordingSink()
    sink.gate.clear()
    sink.attempt = asyncio.create_task(
        nodes.types[type_name].run(make_call("yes xxx" if type_name == "shell" else "flood:f", sink=sink))
    )
    await sink.line("xxx")
    seen = -1
    while len(sink.lines) != seen:
        seen = len(sink.lines)
        await asyncio.sleep(0.05)
    assert seen < 200_000
    sink.attempt.cancel()
    await asyncio.sleep(0)
    sink.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await sink.attempt


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\n", b"\r\n", b"\xc3", b"\xa4"])))
def test_lines_do_not_depend_on_how_the_stream_is_cut(chunks: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.flush()
    whole = b"".join(chunks)
    *ended, rest = whole.split(b"\n")
    expected = [line.removesuffix(b"\r") for line in (*ended, *([rest] if rest else []))]
    assert lines == [line.decode(errors="replace") for line in expected]


@given(st.integers(1, 300_000), st.integers(1, 70_000))
def test_a_long_line_is_cut_at_its_limit_however_it_comes(size: int, step: int) -> None:
    splitter = LineSplitter()
    data = b"x" * size + b"\ny\n"
    lines = [line for start in range(0, len(data), step) for line in splitter.feed(data[start : start + step])]
    more = f"… ({size - MAX_LINE} bytes more)" if size > MAX_LINE else ""
    assert lines == ["x" * min(size, MAX_LINE) + more, "y"]
