"""Events as lines, and as a picture on a terminal."""

import io
from pathlib import Path

from rich.console import Console

from perdure.cli.lines import event_line, queue_name, run_name
from perdure.cli.live import LineView, LiveView, open_view
from perdure.cli.progress import Progress
from tests.cli.facts import event, graph_node
from tests.client.clocks import NOON, FixedClock


def told(line: str) -> str:
    return " ".join(line.split()[1:])


def test_lines_name_the_run_and_what_happened() -> None:
    assert told(event_line(event(1, "node.completed", "fetch", 3))) == "fetch[3] completed"
    assert told(event_line(event(1, "node.started", "fetch", 3, attempt=2, label="b.org"))) == (
        "fetch[b.org] started (attempt 2)"
    )
    assert told(event_line(event(1, "execution.started"))) == "execution started"
    assert told(event_line(event(1, "node.failed", "x", code="node_failed", message="no\nway"))) == (
        "x failed node_failed: no"
    )
    assert told(event_line(event(1, "log", "x", level="info", message="hello"))) == "x | hello"
    assert told(event_line(event(1, "log", "x", level="error", message="hello"))) == "x | error: hello"
    assert told(event_line(event(1, "artifact.created", "x", name="a.md"))) == "x artifact created name=a.md"


def test_a_run_s_name() -> None:
    assert run_name("a", 0) == "a"
    assert run_name("a", 2) == "a[2]"
    assert run_name("a", 0, foreach={"a"}) == "a[0]"
    assert run_name("a", 2, label="key") == "a[key]"
    assert run_name(None, None) == ""


def test_a_queue_and_what_its_workers_must_have() -> None:
    assert queue_name("default", []) == "default"
    assert queue_name("slow", ["fast", "gpu"]) == "slow (requires fast, gpu)"


def test_a_pipe_gets_lines_and_no_escapes() -> None:
    stream = io.StringIO()
    view = open_view(Progress([graph_node("a")]), title="x", stream=stream)
    assert isinstance(view, LineView)
    with view:
        view.show(event(1, "node.started", "a"))
        view.show(event(2, "node.completed", "a"))
    assert [told(line) for line in stream.getvalue().splitlines()] == ["a started", "a completed"]
    assert "\x1b" not in stream.getvalue()


def picture(progress: Progress, *, width: int = 80, say: str = "") -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    view = LiveView(progress, title="default/x", console=console, clock=FixedClock(NOON + 5_000_000))
    if say:
        view.say(say)
    console.print(view.picture())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_picture_shows_nodes_bars_times_and_the_last_lines() -> None:
    progress = Progress([graph_node("list"), graph_node("read", foreach=True), graph_node("report")])
    for one in (
        event(1, "execution.started"),
        event(2, "node.started", "list"),
        event(3, "node.completed", "list"),
        event(4, "node.started", "read", 0, items=2),
        event(5, "log", "read", message="reading"),
        event(6, "node.completed", "read", 0),
    ):
        progress.add(one)
    text = picture(progress, say="connection lost; trying again …")
    assert "running" in text
    assert "✓ list" in " ".join(text.split())
    assert "1/2" in text
    assert "○ report" in " ".join(text.split())
    assert "| reading" in text
    assert "connection lost" in text


def test_what_an_ended_execution_never_began_does_not_wait() -> None:
    progress = Progress([graph_node("nap"), graph_node("then")])
    progress.add(event(1, "node.started", "nap"))
    assert "○ then waiting" in " ".join(picture(progress).split())
    progress.add(event(2, "node.cancelled", "nap"))
    progress.add(event(3, "execution.cancelled"))
    assert "○ then not begun" in " ".join(picture(progress).split())


def test_the_picture_of_a_large_graph_keeps_what_moves() -> None:
    progress = Progress([graph_node(f"n{number}") for number in range(200)])
    progress.add(event(1, "node.started", "n150"))
    text = picture(progress)
    assert "n150" in text
    assert "more nodes" in text
    assert len(text.splitlines()) < 40


def test_the_picture_holds_any_text_on_a_narrow_terminal(tmp_path: Path) -> None:
    progress = Progress([graph_node("a")])
    progress.add(event(1, "node.started", "a"))
    progress.add(event(2, "node.retrying", "a", code="x", message="[red]not markup[/red] " * 20))
    progress.add(event(3, "log", "a", message="[bold] " + "x" * 500))
    text = picture(progress, width=40)
    assert all(len(line) <= 40 for line in text.splitlines())
