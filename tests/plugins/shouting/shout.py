"""An example of a node type that comes as a plug-in: `shout: {text: …}` gives the text in capitals.

Its distribution's `pyproject.toml` says

    [project.entry-points."perdure.nodes"]
    shout = "shouting.shout:ShoutNode"
"""

from typing import Any, ClassVar

from perdure.nodes.interface import Call


class ShoutNode:
    name: ClassVar[str] = "shout"
    control: ClassVar[bool] = False
    config_schema: ClassVar[dict[str, Any]] = {
        "description": "A text in capitals.",
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    }
    examples: ClassVar[list[Any]] = [{"text": "${input.text}"}]

    async def run(self, call: Call) -> str:
        call.sink.log("info", "shouting")
        return f"{call.config['text'].upper()}!"


shout = ShoutNode()
NOT_A_TYPE = 3


class Shadow(ShoutNode):
    """Would take the place of a type that comes with perdure."""

    name = "shell"


class BadName(ShoutNode):
    name = "not a name"


class FieldName(ShoutNode):
    """Would make every node with a timeout one of its type."""

    name = "timeout"


class Broken(ShoutNode):
    def __init__(self) -> None:
        raise RuntimeError("cannot be made")
