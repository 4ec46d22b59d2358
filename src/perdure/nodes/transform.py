"""Node type `transform`: an expression's value."""

from __future__ import annotations

from typing import Any, ClassVar

from perdure.base.codec import Json
from perdure.nodes.interface import Call


class TransformNode:
    name: ClassVar[str] = "transform"
    control: ClassVar[bool] = False
    config_schema: ClassVar[dict[str, Any]] = {
        "description": "Any value with `${…}` in it; what it renders to is the node's output.",
    }
    examples: ClassVar[list[Any]] = [
        "${nodes.fetch.output.body}",
        {"title": "Report of ${input.day}", "count": "${size(nodes.read.output)}"},
    ]

    async def run(self, call: Call) -> Json:
        return call.config
