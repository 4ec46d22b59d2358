"""The JSON Schema (draft 2020-12) of a flow document, made for the node types that are installed.

It says what may stand where; `perdure.flows.compiler` checks what a schema cannot say. The flow
reference in the docs is generated from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from perdure.base.tags import MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGS, TAG_KEY, TAG_VALUE
from perdure.base.texts import NO_NUL
from perdure.model.definition import (
    DEFAULT_MAX_RECOVERIES,
    MAX_FOREACH_ITEMS,
    MAX_NODES,
    MAX_SPREAD,
    Isolation,
    OnInterrupt,
    OnItemError,
    OnLimit,
    RunIf,
)
from perdure.nodes.interface import NodeType

MAX_ATTEMPTS = 1_000
MAX_CONCURRENCY = 100_000
MAX_RATE = 1_000_000
MAX_REQUIRED_TAGS = 8

Schema = dict[str, Any]

_DURATION = "A duration: text such as 500ms, 30s, 10m, 2h, 7d, 1h30m, or a number of seconds."


def _duration(description: str) -> Schema:
    return {"type": ["string", "number"], "description": f"{description} {_DURATION}"}


def _requires(description: str) -> Schema:
    tags: Schema = {"type": "array", "items": {"type": "string"}, "maxItems": MAX_REQUIRED_TAGS}
    return tags | {"description": description}


def _choice(kind: Any, default: str | None, description: str) -> Schema:
    schema: Schema = {"enum": [str(value) for value in kind], "description": description}
    return schema | ({"default": default} if default is not None else {})


_RETRY: Schema = {
    "type": "object",
    "description": "Which failures are tried again, how often and after what time.",
    "additionalProperties": False,
    "properties": {
        "attempts": {
            "type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS, "default": 1,
            "description": "All tries together; 1 means none after the first.",
        },
        "backoff": {
            "type": ["string", "number"], "default": "1s..60s",
            "description": "The wait before the second try and the longest one, as 1s..60s: it doubles from one "
            "to the other. A single duration stands for both. Each wait is drawn from the upper half of that, so that many "
            "failing together spread out.",
        },
        "on": {
            "type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}, "maxItems": 100,
            "description": "Names of errors to retry: exception classes or failure codes. "
            "Without it every failure is retried that a node type does not call hopeless.",
        },
    },
}  # fmt: skip

_WITH: Schema = {
    "type": "object",
    "description": "Values for the node; texts in it may hold ${…}. A python node gets them as keyword arguments, "
    "a shell node as JSON on its standard input.",
}
_ENV: Schema = {
    "type": "object",
    "propertyNames": {"pattern": "^[^=\\x00]+$"},
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    "description": "Environment variables; texts may hold ${…}. Numbers and booleans become JSON text, "
    "a variable that is null is left out.",
}
_ISOLATION = _choice(
    Isolation, None,
    "Where a python node runs: inline (async functions), in a process of the warm pool (sync functions), or in a thread.",
)  # fmt: skip
_NODE_TIMEOUT = _duration("How long one attempt may take once it has its place (a process, a slot).")
_NODE_QUEUE: Schema = {
    "type": "string",
    "description": "Has the node's runs, each as a unit, made by the workers of this queue; "
    "without it they run where their execution does.",
}
_DESCRIPTION: Schema = {"type": "string", "maxLength": 10_000, "pattern": NO_NUL, "description": "For people."}

COMMON_NODE_FIELDS: Schema = {
    "description": _DESCRIPTION,
    "needs": {
        "type": "array", "items": {"type": "string"}, "uniqueItems": True,
        "description": "Nodes that must end before this one starts, beside those that its expressions name.",
    },
    "when": {
        "type": ["string", "boolean"],
        "description": "An expression; when it is false the node is skipped. Evaluated once, before foreach.",
    },
    "run_if": _choice(RunIf, "succeeded", "Which ends of the nodes it needs let it run."),
    "foreach": {
        "type": ["string", "array"],
        "description": "Runs the node once for each item of this list (or member of this map, as {key, value}); "
        f"expressions then know item and index. At most {MAX_FOREACH_ITEMS} items.",
    },
    "parallel": {
        "type": "integer", "minimum": 1, "maximum": MAX_FOREACH_ITEMS,
        "description": "How many items run at a time; without it as many as the worker has room for, "
        f"and of items that run elsewhere (spread, queue, requires) {MAX_SPREAD}.",
    },
    "key": {"type": "string", "description": "A template over item that labels each run of a foreach."},
    "on_item_error": {
        "enum": [*map(str, OnItemError), None], "default": "fail",
        "description": "Whether an item that failed fails the node, or counts as null (text or bare).",
    },
    "spread": {
        "type": "boolean", "default": False,
        "description": "Whether any worker may run each item, as a unit: a child execution of its own.",
    },
    "queue": _NODE_QUEUE,
    "requires": _requires(
        "Has the node's runs, each as a unit, made by workers with these tags; without it those of the flow hold."
    ),
    "retry": _RETRY,
    "timeout": _NODE_TIMEOUT,
    "with": _WITH,
    "env": _ENV,
    "isolation": _ISOLATION,
    "on_interrupt": _choice(OnInterrupt, "rerun", "What happens to an attempt whose worker died."),
}  # fmt: skip

_COMPENSATE_FIELDS = ("description", "queue", "requires", "with", "env", "retry", "timeout", "isolation")

_TRIGGERS: Schema = {
    "type": "array",
    "maxItems": 100,
    "description": "What starts the flow by itself. Checked and kept; nothing acts on it yet.",
    "items": {
        "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False,
        "properties": {
            "schedule": {
                "type": "object", "additionalProperties": False, "required": ["cron"],
                "description": "A recurring start.",
                "properties": {
                    "cron": {"type": "string", "description": "Five fields: minute, hour, day, month, weekday."},
                    "timezone": {"type": "string", "default": "UTC", "description": "An IANA time zone."},
                    "on_gap": {"type": "string", "description": "For a time that the clock skips in spring."},
                    "on_overlap": {"type": "string", "description": "For a time that comes twice in autumn."},
                    "catch_up": {"type": "string", "description": "Which firings missed while nothing ran are made up."},
                    "input": {"type": "object", "description": "The input of the executions."},
                },
            },
            "webhook": {
                "type": "object", "additionalProperties": False, "required": ["name"],
                "description": "A signed URL that starts the flow.",
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 63, "description": "The last part of the URL."},
                    "secret": {"type": "string", "description": "The signing secret, usually ${secrets.<name>}."},
                    "input": {"type": "object", "description": "The input of the executions."},
                },
            },
        },
    },
}  # fmt: skip


def node_schema(node_types: Mapping[str, NodeType]) -> Schema:
    """A node: the common fields and exactly one node type's key with its configuration."""
    configs = {name: _config_schema(kind) for name, kind in node_types.items()}
    common = {name: COMMON_NODE_FIELDS[name] for name in _COMPENSATE_FIELDS}
    compensate: Schema = {
        "type": "object",
        "additionalProperties": False,
        "description": "What undoes this node when the execution is cancelled, times out or fails: a node type "
        "with its configuration. It sees the nodes that this one could see, and this one's own output.",
        "properties": common | configs,
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": COMMON_NODE_FIELDS | {"compensate": compensate} | configs,
    }


def flow_schema(node_types: Mapping[str, NodeType]) -> Schema:
    """The schema of a whole document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "perdure flow",
        "description": "A graph of nodes: what runs, in which order, and what comes out.",
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "nodes"],
        "properties": {
            "id": {
                "type": "string",
                "description": "namespace/name, each of a-z 0-9 _ . -, at most 63 characters; a bare name means default/name.",
            },
            "description": _DESCRIPTION,
            "input": {
                "type": ["object", "boolean"],
                "description": "JSON Schema 2020-12 of the input, or its shorthand: a map from property to schema. "
                "In the shorthand every property without a default is required, and there are no others.",
            },
            "nodes": {
                "type": "object", "minProperties": 1, "additionalProperties": node_schema(node_types),
                "description": f"The nodes by id (a letter or _, then letters, digits and _); at most {MAX_NODES}.",
            },
            "output": {
                "description": "The execution's output; texts in it may hold ${…}. "
                "Without it: an object with the output of each node that no other node needs, by node id."
            },
            "timeout": _duration("From creation (or start_at) to the end, waiting included."),
            "concurrency": _CONCURRENCY,
            "rate": _RATE,
            "priority": {
                "type": "integer", "minimum": 0, "maximum": 9, "default": 5, "description": "Higher starts first.",
            },
            "queue": {"type": "string", "default": "default", "description": "Which workers run it."},
            "requires": _requires("Tags that a worker must have to run it (`perdure worker --tags`), such as gpu."),
            "tags": {
                "type": "object", "maxProperties": MAX_TAGS,
                "propertyNames": {"minLength": 1, "maxLength": MAX_TAG_KEY, "pattern": TAG_KEY},
                "additionalProperties": {"type": "string", "maxLength": MAX_TAG_VALUE, "pattern": TAG_VALUE},
                "description": "Given to every execution, beside those of its start. "
                f"Keys have up to {MAX_TAG_KEY} characters and no colon, values up to {MAX_TAG_VALUE}.",
            },
            "max_recoveries": {
                "type": "integer", "minimum": 0, "maximum": 1_000, "default": DEFAULT_MAX_RECOVERIES,
                "description": "How many crashes in a row an execution survives before it is abandoned.",
            },
            "triggers": _TRIGGERS,
        },
    }  # fmt: skip


_CONCURRENCY: Schema = {
    "type": "object", "additionalProperties": False, "required": ["limit"],
    "description": "How many executions run at a time.",
    "properties": {
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_CONCURRENCY, "description": "The number."},
        "key": {"type": "string", "description": "A template over input; executions with equal keys share the limit."},
        "on_limit": _choice(OnLimit, "queue", "What happens to one too many."),
    },
}  # fmt: skip
_RATE: Schema = {
    "type": "object", "additionalProperties": False, "required": ["limit", "per"],
    "description": "How many executions start in a time.",
    "properties": {
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_RATE, "description": "The number."},
        "per": _duration("The time."),
        "key": {"type": "string", "description": "A template over input; executions with equal keys share the rate."},
    },
}  # fmt: skip


def shape_schema(types: Collection[str]) -> Schema:
    """The document's schema with configurations left open: each is checked by its own type's schema,
    whose references point into itself."""
    schema = flow_schema({})
    nodes = schema["properties"]["nodes"]
    node = node_schema({})
    open_types: Schema = dict.fromkeys(types, True)
    node["properties"] |= open_types
    node["properties"]["compensate"]["properties"] |= open_types
    nodes["additionalProperties"] = node
    return schema


def _config_schema(kind: NodeType) -> Schema:
    return dict(kind.config_schema)
