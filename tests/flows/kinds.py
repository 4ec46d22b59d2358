"""Small node types for tests of definitions; they are never run."""

from __future__ import annotations

from typing import Any, ClassVar

from perdure.errors import Problem
from perdure.flows.program import Program, Scope, compile_flow


class Kind:
    control: ClassVar[bool] = False
    examples: ClassVar[list[Any]] = []

    def __init__(self, name: str, config_schema: dict[str, Any]) -> None:
        self.name = name  # type: ignore[misc]
        self.config_schema = config_schema  # type: ignore[misc]

    name: ClassVar[str]
    config_schema: ClassVar[dict[str, Any]]

    async def run(self, call: Any) -> Any:
        raise AssertionError("definitions run nothing")


class Shell(Kind):
    def check(self, config: Any) -> list[Problem]:
        refused = isinstance(config, str) and "${" in config
        return [Problem("template_in_command", "the text of a command is no template", "")] if refused else []


_TEXT = {"type": "string"}

KINDS = {
    kind.name: kind
    for kind in (
        Kind("python", {"type": "string", "pattern": "^[a-z.]+:[a-z_]+$"}),
        Shell("shell", _TEXT),
        Kind(
            "http",
            {
                "anyOf": [
                    _TEXT,
                    {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["url"],
                        "properties": {
                            "url": _TEXT,
                            "method": {"enum": ["GET", "POST"]},
                            "headers": {"type": "object"},
                        },
                    },
                ]
            },
        ),
        Kind("flow", {"anyOf": [_TEXT, {"type": "object", "required": ["flow"], "properties": {"flow": _TEXT}}]}),
        Kind("transform", {}),
        Kind("fail", {}),
    )
}


def compiled(text: str, *, media_type: str = "application/yaml") -> Program:
    return compile_flow(text, media_type=media_type, node_types=KINDS)


def scope(input: Any = None, *, outputs: dict[str, Any] | None = None, **rest: Any) -> Scope:
    nodes = {name: {"output": output, "status": "completed", "error": None} for name, output in (outputs or {}).items()}
    execution = {"id": "018f", "number": 7, "flow": "a/b", "version": 2, "tags": {"team": "x"}}
    return Scope(input=input, nodes=nodes, execution=execution, **rest)
