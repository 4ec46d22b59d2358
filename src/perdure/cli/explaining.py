"""Why an execution waits, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perdure.cli.output import on_one_line, one_line
from perdure.wire.executions import Explanation


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """The sentence that sums it up, then one line for each thing that holds it up."""
    yield on_one_line(explanation.summary)
    for cause in explanation.waiting_for:
        yield f"- {_facts(cause)}"


def _facts(cause: dict[str, Any]) -> str:
    known = {key: value for key, value in cause.items() if value not in (None, [])}
    kind = str(known.pop("kind", "")).replace("_", " ")
    told = ", ".join(
        f"{key} {on_one_line(value) if isinstance(value, str) else one_line(value)}" for key, value in known.items()
    )
    return f"{kind}: {told}" if told else kind
