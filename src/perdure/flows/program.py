"""A compiled flow: the seam between definitions and the engine.

A program is made once per flow version and shared by all of its executions; it holds no state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import jsonschema_rs
import msgspec

from perdure.base.codec import Json, encode_text
from perdure.base.nearest import nearest
from perdure.base.pointers import pointer_below
from perdure.base.texts import cut
from perdure.errors import InvalidFlow, Problem, first_of
from perdure.flows.compiler import Compiled, FlowCompiler, NodeTemplates
from perdure.flows.documents import Document, parse_document
from perdure.flows.input_schema import InputCheck, expand_shorthand
from perdure.flows.report import Report
from perdure.flows.schema import COMMON_NODE_FIELDS, shape_schema
from perdure.flows.schema_errors import findings, make_validator
from perdure.flows.templates import RenderFailed, Template, fresh
from perdure.model.definition import MAX_FOREACH_ITEMS, MAX_NODES, Flow, OnItemError, qualified
from perdure.model.failure import Failure
from perdure.nodes.interface import NodeType

MAX_LABEL = 200
"""Characters of a foreach run's label; the run is known by its ordinal."""
_ordered = msgspec.json.Encoder(order="deterministic")


class ExpressionFailed(Exception):
    """An expression had no value. `failure.code` is expression_error, expression_budget or limit_exceeded."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Scope(msgspec.Struct):
    """What expressions may see.

    `nodes` maps a node's id to `{"output", "status", "error"}`; `execution` is of the shape that
    `perdure.flows.expressions.EXECUTION_FIELDS` lists; `item` and `index` are those of a foreach.
    """

    input: Json
    nodes: Mapping[str, dict[str, Any]]
    execution: dict[str, Any]
    item: Json = None
    index: int | None = None
    secrets: Mapping[str, str] = {}


class Rendered(msgspec.Struct):
    """What a node type gets; its containers are its own."""

    config: Json
    with_: dict[str, Json]
    env: dict[str, str]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The node run that a unit is, and the number of the execution that this belongs to."""

    execution_number: int
    ordinal: int
    label: str


class Runnable(Protocol):
    """What an owner asks of the program of its execution: a flow's (`Program`), or a unit's."""

    @property
    def flow(self) -> Flow: ...
    @property
    def origin(self) -> Origin | None: ...
    def references(self, node_id: str) -> frozenset[str]: ...
    def output_references(self) -> frozenset[str]: ...
    def secrets(self, node_id: str, *, compensates: bool) -> frozenset[str]: ...
    def when(self, node_id: str, scope: Scope) -> bool: ...
    def items(self, node_id: str, scope: Scope) -> list[Json]: ...
    def label(self, node_id: str, scope: Scope) -> str: ...
    def call(self, node_id: str, scope: Scope) -> Rendered: ...
    def compensation(self, node_id: str, scope: Scope) -> Rendered: ...
    def output(self, scope: Scope) -> Json: ...


class Program:
    """A flow version, ready to run.

    Attributes:
        flow: the definition.
        document: the normalised definition as JSON text, its keys in the order in which they were written.
        content_hash: sha-256 of `document` with sorted keys, in hexadecimal.
        origin: None; a unit's program has one.
        doubts: expressions that will have no value, whatever the input.
    """

    def __init__(self, document: str, compiled: Compiled) -> None:
        self.document = document
        self.content_hash = hashlib.sha256(_ordered.encode(msgspec.json.decode(document))).hexdigest()
        self.flow: Flow = compiled.flow
        self.origin: Origin | None = None
        self.doubts = compiled.doubts
        self._nodes = compiled.nodes
        self._output = compiled.output
        self._limit_key = compiled.limit_key
        self._rate_key = compiled.rate_key
        needed = {need for node in self.flow.nodes.values() for need in node.needs}
        self._sinks = tuple(name for name in self.flow.nodes if name not in needed)
        self._input = InputCheck(self.flow.input_schema)

    def references(self, node_id: str) -> frozenset[str]:
        """Nodes that the node's expressions read, its compensation's included."""
        return self._nodes[node_id].references

    def output_references(self) -> frozenset[str]:
        """Nodes that `output` reads."""
        return self._output.nodes if self._output is not None else frozenset(self._sinks)

    def secrets(self, node_id: str, *, compensates: bool) -> frozenset[str]:
        """Secrets that the node's call (or its compensation's) names."""
        templates = self._nodes[node_id]
        if compensates:
            assert templates.compensate is not None
            templates = templates.compensate
        return templates.config.secrets | templates.with_.secrets | templates.env.secrets

    def when(self, node_id: str, scope: Scope) -> bool:
        """The node's condition; True without one. Raises ExpressionFailed."""
        template = self._nodes[node_id].when
        if template is None:
            return True
        value = _render(template, scope, node_id)
        if type(value) is not bool:
            raise _failed(node_id, "expression_error", f"when must be true or false, not {_shown(value)}", "when")
        return value

    def items(self, node_id: str, scope: Scope) -> list[Json]:
        """What a foreach runs over: a list, or a map's members as `{key, value}`.

        Raises ExpressionFailed, also for anything else and for more than MAX_FOREACH_ITEMS.
        """
        template = self._nodes[node_id].foreach
        if template is None:
            return []
        value = _render(template, scope, node_id)
        if type(value) is dict:
            value = [{"key": key, "value": member} for key, member in value.items()]
        if type(value) is not list:
            raise _failed(node_id, "expression_error", f"foreach needs a list or a map, not {_shown(value)}", "foreach")
        if len(value) > MAX_FOREACH_ITEMS:
            reason = (
                f"foreach has {len(value)} items, at most {MAX_FOREACH_ITEMS} are allowed; "
                "a pipeline streams any number of them"
            )
            raise _failed(node_id, "limit_exceeded", reason, "foreach", limit=MAX_FOREACH_ITEMS)
        return value

    def label(self, node_id: str, scope: Scope) -> str:
        """A foreach run's label, cut at `MAX_LABEL` characters; "" without `key`. Raises ExpressionFailed."""
        template = self._nodes[node_id].key
        if template is None:
            return ""
        text = _text(_render(template, scope, node_id))
        if "\0" in text:
            raise _failed(node_id, "expression_error", f"the key {_shown(text)} holds a NUL character", "key")
        return cut(text, MAX_LABEL)

    def call(self, node_id: str, scope: Scope) -> Rendered:
        """The node's configuration, `with` and `env`, rendered. Raises ExpressionFailed."""
        return _rendered(self._nodes[node_id], scope, node_id)

    def compensation(self, node_id: str, scope: Scope) -> Rendered:
        """The same of its `compensate`. Raises ExpressionFailed; KeyError when it has none."""
        templates = self._nodes[node_id].compensate
        if templates is None:
            raise KeyError(node_id)
        return _rendered(templates, scope, node_id)

    def output(self, scope: Scope) -> Json:
        """The execution's output: that of `output`, else the outputs of the nodes that no other needs, by id.

        Raises ExpressionFailed.
        """
        if self._output is None:
            return {name: scope.nodes[name]["output"] for name in self._sinks}
        return _render(self._output, scope, None)

    def limit_key(self, input: Json) -> str:
        """The key of the concurrency limit; "" without one. Raises ExpressionFailed."""
        return self._key(self._limit_key, input)

    def rate_key(self, input: Json) -> str:
        """The key of the rate; "" without one. Raises ExpressionFailed."""
        return self._key(self._rate_key, input)

    def check_input(self, value: Json) -> Json:
        """The input with the defaults of its top-level properties filled in.

        Raises InvalidInput with every problem; their pointers begin at the input.
        """
        return self._input.check(value)

    @staticmethod
    def _key(template: Template | None, input: Json) -> str:
        if template is None:
            return ""
        return _text(_render(template, Scope(input=input, nodes={}, execution={}), None))


def compile_flow(
    text: str | bytes, *, media_type: str, node_types: Mapping[str, NodeType], expected_id: str | None = None
) -> Program:
    """Check a document and compile it.

    Args:
        text: the document as it was given.
        media_type: `application/yaml` or `application/json`.
        node_types: the types that its nodes may have, by their names.
        expected_id: the id that it must have (a bare name means `default/name`).

    Raises:
        MalformedDocument, LimitExceeded, UnsupportedMediaType: see `parse_document`.
        InvalidFlow: with all problems, each with pointer, line and column.
    """
    document = parse_document(text, media_type=media_type)
    report = Report(document)
    compiled = _check(document, report, node_types, expected_id)
    if compiled is None or report:
        problems = report.problems
        raise InvalidFlow(first_of(problems), problems=problems)
    return Program(_normalised(document.value, compiled.flow), compiled)


def load_program(document: str, *, node_types: Mapping[str, NodeType]) -> Program:
    """A program from the `document` of an earlier one, which is trusted to be valid.

    Raises InvalidFlow when its node types are not installed any more.
    """
    value = msgspec.json.decode(document)
    report = Report(None)
    compiled = FlowCompiler(report, node_types).compile(value)
    for name, node in compiled.flow.nodes.items():
        for part, place in ((node, ""), (node.compensate, "/compensate")):
            if part is not None and not part.type:
                detail = f"the type of node {name} is not installed (types: {', '.join(sorted(node_types))})"
                report.add("node_type", detail, f"/nodes/{name}{place}")
    if report:
        problems = report.problems
        raise InvalidFlow(f"the stored flow cannot be run here: {problems[0].detail}", problems=problems)
    return Program(document, compiled)


def _check(
    document: Document, report: Report, node_types: Mapping[str, NodeType], expected_id: str | None
) -> Compiled | None:
    value = document.value
    if not isinstance(value, dict):
        report.add("invalid_type", "a flow is a mapping with id and nodes", "")
        return None
    nodes = value.get("nodes")
    if isinstance(nodes, dict) and len(nodes) > MAX_NODES:
        report.add(
            "limit_exceeded", f"the flow has {len(nodes)} nodes, at most {MAX_NODES} are allowed", "/nodes", at_key=True
        )
        return None
    validator, schema = _shape(frozenset(node_types))
    for finding in findings(validator, schema, value):
        if (
            finding.code == "unknown_field"
            and finding.pointer.count("/") == 3
            and finding.pointer.startswith("/nodes/")
        ):
            field = finding.pointer.rpartition("/")[2]
            known = [*COMMON_NODE_FIELDS, "compensate", *node_types]
            types = ", ".join(sorted(node_types))
            detail = f"{field!r} is no field and no type of a node{nearest(field, known)} (types: {types})"
            report.add("unknown_field", detail, finding.pointer, at_key=True)
        else:
            report.finding(finding)
    _check_configs(value, report, node_types)
    compiled = FlowCompiler(report, node_types).compile(value)
    if expected_id is not None and compiled.flow.id and compiled.flow.id != qualified(expected_id):
        detail = f"the document's id is {compiled.flow.id}, expected is {qualified(expected_id)}"
        report.add("id_mismatch", detail, "/id")
    return compiled


@lru_cache(maxsize=8)
def _shape(types: frozenset[str]) -> tuple[jsonschema_rs.Draft202012Validator, dict[str, Any]]:
    schema = shape_schema(types)
    return make_validator(schema), schema


def _check_configs(value: dict[str, Any], report: Report, node_types: Mapping[str, NodeType]) -> None:
    """Each node's configuration against its type's schema."""
    validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
    nodes = value.get("nodes")
    for name, body in nodes.items() if isinstance(nodes, dict) else ():
        pointer = pointer_below("/nodes", name)
        undo = body.get("compensate") if isinstance(body, dict) else None
        for part, place in ((body, pointer), (undo, f"{pointer}/compensate")):
            for field, config in part.items() if isinstance(part, dict) else ():
                kind = node_types.get(field)
                if kind is None:
                    continue
                within = pointer_below(place, field)
                try:
                    if field not in validators:
                        validators[field] = make_validator(kind.config_schema)
                except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
                    detail = f"the type {field} cannot be used, its config_schema is wrong: {cut(str(error), 300)}"
                    report.add("node_type", detail, within, at_key=True)
                    continue
                found = findings(validators[field], kind.config_schema, config, within=within)
                settled = _check_by_type(kind, config, within, report, is_sound=not found)
                for finding in found:
                    if finding.pointer not in settled:
                        report.finding(finding)


def _check_by_type(kind: NodeType, config: Json, within: str, report: Report, *, is_sound: bool) -> set[str]:
    """What the type itself says about a configuration; the pointers that nothing else need be said about."""
    check = getattr(kind, "check", None)
    if check is None or not isinstance(config, str | dict):
        return set()
    try:
        problems: list[Problem] = check(config)
    except Exception as error:
        # A check may trip over what the schema refuses; then the schema has said enough.
        if is_sound:
            report.add("invalid_value", f"the check of {kind.name} failed: {type(error).__name__}: {error}", within)
        return set()
    for problem in problems:
        report.settle(problem.code, problem.detail, within + (problem.pointer or ""))
    return {within + (problem.pointer or "") for problem in problems}


def _normalised(value: dict[str, Any], flow: Flow) -> str:
    """The document with its full id, input schema and `"null"` written out, so that equal flows have equal hashes."""
    nodes = {name: _with_text_null(body) for name, body in value["nodes"].items()}
    normal = {**value, "id": flow.id, "nodes": nodes}
    if "input" in value:
        normal["input"] = expand_shorthand(value["input"])
    return encode_text(normal)


def _with_text_null(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("on_item_error", "") is None:
        return {**body, "on_item_error": str(OnItemError.NULL)}
    return body


def _rendered(templates: NodeTemplates, scope: Scope, node_id: str) -> Rendered:
    try:
        return Rendered(
            fresh(templates.config.render(scope)),
            fresh(templates.with_.render(scope)),
            _variables(templates.env.render(scope), f"/nodes/{node_id}/env"),
        )
    except RenderFailed as error:
        raise _from(error, node_id) from None


def _variables(env: dict[str, Json], pointer: str) -> dict[str, str]:
    variables = {}
    for name, value in env.items():
        if value is None:
            continue
        text = value if type(value) is str else encode_text(value)
        if "\0" in text:
            raise RenderFailed(
                "expression_error", "an environment variable cannot hold a NUL character", name, f"{pointer}/{name}"
            )
        variables[name] = text
    return variables


def _render(template: Template, scope: Scope, node_id: str | None) -> Json:
    try:
        return template.render(scope)
    except RenderFailed as error:
        raise _from(error, node_id) from None


def _from(error: RenderFailed, node_id: str | None) -> ExpressionFailed:
    where = error.pointer.removeprefix(f"/nodes/{node_id}").removeprefix("/").replace("/", ".")
    expression = error.expression.strip()
    shown = expression if len(expression) <= 200 else f"{expression[:197]}…"
    return _failed(
        node_id, error.code, f"{where}: {error.reason} in ${{{shown}}}", error.pointer, expression=expression
    )


def _failed(node_id: str | None, code: str, reason: str, pointer: str, **details: Any) -> ExpressionFailed:
    """Nothing changes until the next try, so an expression's failure is not retried."""
    failure = Failure(
        code=code,
        message=reason,
        node=node_id,
        details={"pointer": pointer if pointer.startswith("/") else f"/nodes/{node_id}/{pointer}", **details},
        retryable=False,
        error_types=(code,),
    )
    return ExpressionFailed(failure)


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else encode_text(value)


def _shown(value: Json) -> str:
    text = encode_text(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
