"""Write `docs/reference/cli.md` from the commands themselves.

`python scripts/generate_cli_reference.py` writes it; `--check` only says whether it is up to date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from perdure.cli.main import root

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
HEAD = """# The command `perdure`

<!-- Made by scripts/generate_cli_reference.py from the commands themselves. -->

Data goes to standard output, everything else to standard error, so every command can be piped. On a terminal tables are
coloured and cut to its width (`NO_COLOR=1` leaves the colours out); in a pipe they are plain and whole.

| exit code | meaning |
|---|---|
| 0 | done; an execution that was waited for completed |
| 1 | an error: not there, refused, no server |
| 2 | wrong usage |
| 3 | the execution was cancelled or timed out, or the wait did |
| 4 | no token, a bad one, or one that may not |
| 5 | the execution failed or was abandoned |
| 130 | interrupted; what was followed goes on |

Which server a command talks to: `--url`, else `PERDURE_URL`, else the profile in `~/.config/perdure/config.toml`
(`--profile`, `PERDURE_PROFILE`), else the server that runs on this folder's home, else `http://127.0.0.1:8000`. A token
comes from `--token`, `PERDURE_TOKEN`, the file that `PERDURE_TOKEN_FILE` names, or the profile:

```toml
profile = "prod"

[profiles.prod]
url = "https://perdure.example.org"
token_file = "~/.config/perdure/prod.token"
workspace = "default"
```

`PERDURE_DEBUG=1` shows where an unexpected error came from.
"""


def generated() -> str:
    """The page's text."""
    context = click.Context(root, info_name="perdure")
    return "\n".join([HEAD, *_sections(context, root)])


def _sections(context: click.Context, group: click.Group) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        depth = 2 if context.parent is None else 3
        yield f"{'#' * depth} {inner.command_path}\n"
        yield _about(command)
        if isinstance(command, click.Group):
            yield from _sections(inner, command)
            continue
        usage = " ".join([inner.command_path, *command.collect_usage_pieces(inner)])
        yield f"```text\n{usage}\n```\n"
        rows = [_option_row(option, inner) for option in command.params if isinstance(option, click.Option)]
        if rows:
            yield "| option | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _about(command: click.Command) -> str:
    paragraphs = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            paragraphs.append("```text\n" + paragraph.removeprefix("\b\n") + "\n```")
        else:
            paragraphs.append(" ".join(paragraph.split()))
    return "\n\n".join(paragraphs) + "\n"


def _option_row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None
    names, about = (re.sub(r"\s+", " ", text).replace("|", "\\|") for text in record)
    return f"| `{names}` | {about} |"


def main() -> int:
    text = generated()
    if "--check" in sys.argv[1:]:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
