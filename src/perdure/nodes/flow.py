"""Node type `flow`: a child execution, which the engine starts and waits for."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from perdure.base.codec import Json
from perdure.model.definition import qualified
from perdure.nodes.interface import ControlNode


class FlowCall(msgspec.Struct, frozen=True):
    """`flow` is qualified (`namespace/name`); no version means the latest one."""

    flow: str
    version: int | None = None
    input: Json = None


class FlowNode(ControlNode):
    name: ClassVar[str] = "flow"
    config_schema: ClassVar[dict[str, Any]] = {
        "description": (
            "Runs another flow as a child execution and waits for its end; the child's output is the node's output. "
            "`namespace/name` (a bare name is in `default`), or an object with `flow`, `version` (the latest one by "
            "default) and `input`; without `input` the child gets what stands under `with`."
        ),
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "properties": {
                    "flow": {"type": "string", "minLength": 1},
                    "version": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "minLength": 1}]},
                    "input": {},
                },
                "required": ["flow"],
                "additionalProperties": False,
            },
        ],
    }
    examples: ClassVar[list[Any]] = [
        "reports/digest",
        {"flow": "reports/digest", "version": 3, "input": {"urls": "${input.urls}"}},
    ]


def parse_flow_config(config: Any, with_: dict[str, Any] | None = None) -> FlowCall:
    """What a node with this rendered config calls; `with_` is the input where the config has none.

    Raises ValueError, saying what would be right.
    """
    parts = {"flow": config} if isinstance(config, str) else config
    if not isinstance(parts, dict) or not isinstance(parts.get("flow"), str):
        raise ValueError(f"{config!r} names no flow; write namespace/name or {{flow: namespace/name, input: …}}")
    version = parts.get("version")
    if isinstance(version, str) and version.isdigit():
        version = int(version)
    if version == "latest":
        version = None
    if version is not None and (not isinstance(version, int) or isinstance(version, bool) or version < 1):
        raise ValueError(f"{version!r} is no flow version; write its number, or leave it out for the latest")
    given = parts["input"] if "input" in parts else dict(with_ or {})
    return FlowCall(flow=qualified(parts["flow"]), version=version, input=given)
