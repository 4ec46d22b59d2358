"""Examples in Markdown pages, taken out and run as a reader would.

A fence's info string says what it is: `yaml hello.yaml` (any language and a path) is written to that file;
`console` is a session of `$ ` commands with what they print; `console server` is a session that keeps
running in another terminal until the page ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<mark>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=mark)[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is where its fence opens, counted from 1."""

    language: str
    arguments: tuple[str, ...]
    body: str
    line: int


@dataclass(frozen=True)
class Step:
    """One command and the lines that the page shows below it."""

    command: str
    shown: tuple[str, ...]


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(text):
        words = match["info"].split()
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(words[0] if words else "", tuple(words[1:]), match["body"], line))
    return found


def steps(block: Block) -> list[Step]:
    """The commands of a session; one goes on in the next line behind a backslash, or as a here-document."""
    found: list[Step] = []
    lines = iter(block.body.splitlines())
    shown: list[str] = []
    command = ""
    for line in lines:
        if not line.startswith("$ "):
            shown.append(line)
            continue
        if command:
            found.append(Step(command, tuple(shown)))
        command, shown = line[2:], []
        while command.endswith("\\"):
            command += "\n" + next(lines).removeprefix("> ")
        if here := re.search(r"<<\s*'?(\w+)'?", command):
            for text in lines:
                command += "\n" + text
                if text == here[1]:
                    break
    if command:
        found.append(Step(command, tuple(shown)))
    return found


def documented(root: Path) -> list[Path]:
    """The pages whose examples are run."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted((root / "examples").rglob("*.md"))]


_CHANGING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+\d\d:\d\d)"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b"), "<clock>"),
    (re.compile(r"\b(\d+h)?(\d+m)?\d+(\.\d+)? ?(ms|s)\b"), "<span>"),
    (re.compile(r"\bperdure_[A-Za-z0-9_-]{43}\b"), "<token>"),
    (re.compile(r'("(?:pid|duration_ms)": )[\d.]+'), r"\1<number>"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "<server>"),
    (re.compile(r"[ \t]+"), " "),
)


def settled(line: str) -> str:
    """The line with everything replaced that differs from run to run: ids, times, durations, ports, padding."""
    for pattern, text in _CHANGING:
        line = pattern.sub(text, line)
    return line.strip()


def agrees(shown: tuple[str, ...], printed: list[str]) -> bool:
    """Whether what was printed is what the page shows; `…` stands for anything, alone for any lines."""
    return _agrees(
        [settled(line) for line in shown if line.strip()], [settled(line) for line in printed if line.strip()]
    )


def _agrees(shown: list[str], printed: list[str]) -> bool:
    if not shown:
        return not printed
    if shown[0] == "…":
        return any(_agrees(shown[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    if not printed:
        return False
    pattern = ".*".join(map(re.escape, shown[0].split("…")))
    return re.fullmatch(pattern, printed[0]) is not None and _agrees(shown[1:], printed[1:])
