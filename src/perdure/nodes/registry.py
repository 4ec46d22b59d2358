"""All node types: those that come with perdure, and plug-ins (entry point group `perdure.nodes`)."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint, entry_points

from perdure.model.definition import Node
from perdure.nodes.approval import ApprovalNode
from perdure.nodes.ask import AskNode
from perdure.nodes.fail import FailNode
from perdure.nodes.flow import FlowNode
from perdure.nodes.http import HttpNode
from perdure.nodes.interface import NodeType
from perdure.nodes.python import PythonNode
from perdure.nodes.runtime import NodeRuntime
from perdure.nodes.shell import ShellNode
from perdure.nodes.signal import SignalNode
from perdure.nodes.sleep import SleepNode
from perdure.nodes.transform import TransformNode

GROUP = "perdure.nodes"
_FIELDS = frozenset(field.rstrip("_") for field in Node.__struct_fields__)
_log = logging.getLogger(__name__)


def load_node_types(runtime: NodeRuntime) -> dict[str, NodeType]:
    """Every node type by its name.

    A plug-in that cannot be loaded, is no node type, or takes a name that is taken is left out,
    and an error in perdure's own log says why. The runtime need not be started: the schemas can be
    read without.
    """
    built_in: list[NodeType] = [
        PythonNode(runtime),
        ShellNode(runtime),
        HttpNode(runtime),
        FlowNode(),
        TransformNode(),
        SleepNode(),
        ApprovalNode(),
        AskNode(),
        SignalNode(),
        FailNode(),
    ]
    types = {node_type.name: node_type for node_type in built_in}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        try:
            plug_in = _load(point)
            if plug_in.name in types:
                raise ValueError(f"the name {plug_in.name!r} is taken")
            types[plug_in.name] = plug_in
        except Exception as error:
            where = point.dist.name if point.dist is not None else "an unknown package"
            _log.error("node type %r of %s is left out: %s: %s", point.name, where, type(error).__name__, error)
    return types


def _load(point: EntryPoint) -> NodeType:
    loaded = point.load()
    plug_in = loaded() if isinstance(loaded, type) else loaded
    if not isinstance(plug_in, NodeType):
        wanted = "name, control, config_schema, examples and run"
        raise TypeError(f"{point.value} is no node type; it needs {wanted}")
    if not isinstance(plug_in.name, str) or not plug_in.name.isidentifier():
        raise ValueError(f"{plug_in.name!r} is no name for a node type")
    if plug_in.name in _FIELDS:
        raise ValueError(f"{plug_in.name!r} is a field of every node, and no name for a type")
    if not isinstance(plug_in.config_schema, dict):
        raise TypeError("its config_schema is no JSON Schema object")
    return plug_in
