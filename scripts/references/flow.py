"""The made parts of `docs/reference/flow.md`: fields and node types, from the schema that checks documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from perdure.flows.schema import flow_schema
from perdure.nodes.interface import NodeType
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings
from scripts.references.regions import Maker, table
from scripts.references.schemas import about, kind_of

OUR_OWN = "perdure."


@cache
def node_types() -> dict[str, NodeType]:
    """Those that come with perdure; what else is installed here does not belong on the page."""
    found = load_node_types(NodeRuntime(RuntimeSettings(home=".perdure")))
    return {name: kind for name, kind in found.items() if type(kind).__module__.startswith(OUR_OWN)}


def flow_fields() -> str:
    schema = flow_schema({})
    return _fields(schema["properties"], required=schema["required"])


def node_fields() -> str:
    properties = dict(flow_schema({})["properties"]["nodes"]["additionalProperties"]["properties"])
    return _fields(properties)


def trigger_fields() -> str:
    return _fields(flow_schema({})["properties"]["triggers"]["items"]["properties"])


def node_type_sections() -> str:
    return "\n\n".join(part for name, kind in node_types().items() for part in _section(name, kind))


def _section(name: str, kind: NodeType) -> Iterator[str]:
    schema = kind.config_schema
    yield f"### {name}"
    yield str(schema["description"])
    objects = [one for one in (schema, *schema.get("anyOf", ())) if "properties" in one]
    if "anyOf" in schema:
        yield f"It is written as {_forms(schema['anyOf'])}."
    for one in objects:
        yield _fields(one["properties"], required=one.get("required", ()))
    yield "Examples of what stands in a node:"
    yield f"```yaml\n{_examples(name, kind.examples)}```"


def _forms(forms: list[dict[str, Any]]) -> str:
    words = ["an object" if "properties" in form else f"a {kind_of(form)}" for form in forms]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _examples(name: str, examples: list[Any]) -> str:
    return yaml.safe_dump([{name: one} for one in examples], sort_keys=False, allow_unicode=True, width=110)


def _fields(properties: Mapping[str, Any], *, required: Any = ()) -> str:
    return table(("field", "value", ""), _rows(properties, required, ""))


def _rows(properties: Mapping[str, Any], required: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, schema in properties.items():
        word = "**required** " if name in required else ""
        yield f"`{prefix}{name}`", kind_of(schema), f"{word}{about(schema)}"
        inner = schema.get("properties") if isinstance(schema, dict) else None
        if inner and name != "compensate":
            yield from _rows(inner, schema.get("required", ()), f"{prefix}{name}.")


MAKERS: dict[str, Maker] = {
    "flow-fields": flow_fields,
    "node-fields": node_fields,
    "trigger-fields": trigger_fields,
    "node-types": node_type_sections,
}
