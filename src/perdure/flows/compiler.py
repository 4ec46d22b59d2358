"""A flow's document made into a definition and compiled templates; all faults are found in one go.

The shape has been checked by the schema before, but its faults do not stop this: every part that
can be read is read, so that one round tells everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from perdure.base.clock import DAY, SECOND
from perdure.base.codec import encode_text
from perdure.base.durations import MAX_DURATION, format_duration, parse_duration
from perdure.base.nearest import nearest
from perdure.base.pointers import pointer_below, pointer_of
from perdure.errors import InvalidAnswer
from perdure.flows.expressions import Fault, Language, Names
from perdure.flows.form import check_answer, check_form, expand_form
from perdure.flows.graph import ancestors, find_cycles, in_order
from perdure.flows.input_schema import check_schema, expand_shorthand, undeclared
from perdure.flows.report import Report
from perdure.flows.schema import COMMON_NODE_FIELDS
from perdure.flows.templates import Builder, InputRead, Template
from perdure.flows.triggers import check_triggers
from perdure.model.answer import ANSWERED, ASK
from perdure.model.definition import (
    DEFAULT_MAX_RECOVERIES,
    NODE_ID,
    Concurrency,
    Flow,
    Isolation,
    Node,
    OnInterrupt,
    OnItemError,
    OnLimit,
    Rate,
    Retry,
    RunIf,
    is_segment,
    qualified,
)
from perdure.nodes.interface import NodeType

_AT_HOME = {
    "flow": "its child execution runs wherever its own flow's queue is served",
    "transform": "its value is known before it could leave",
    "fail": "it ends where it begins",
}
"""Types whose runs stay with their execution, and why."""
_MAX_BACKOFF = DAY
_MAX_PER = 366 * DAY


class NodeTemplates(msgspec.Struct):
    """What is evaluated for a node; `references` are the nodes that all of it reads."""

    config: Template
    with_: Template
    env: Template
    when: Template | None = None
    foreach: Template | None = None
    key: Template | None = None
    compensate: NodeTemplates | None = None
    references: frozenset[str] = frozenset()


class Compiled(msgspec.Struct):
    flow: Flow
    nodes: dict[str, NodeTemplates]
    output: Template | None
    limit_key: Template | None
    rate_key: Template | None
    doubts: list[Doubt] = []
    """Expressions that will have no value, whatever the input: they refuse nothing, as they may never be evaluated."""


class Doubt(msgspec.Struct, frozen=True):
    """A fault of the expression within the template `text` at the pointer."""

    pointer: str
    text: str
    fault: Fault


class FlowCompiler:
    """Compiles one document. The result counts only when the report stays empty."""

    def __init__(self, report: Report, node_types: Mapping[str, NodeType]) -> None:
        self._report = report
        self._node_types = node_types
        self._builder = Builder(report.fault)
        self._languages: dict[Names, Language] = {}
        self._ids: frozenset[str] = frozenset()

    def compile(self, value: dict[str, Any]) -> Compiled:
        nodes = value.get("nodes")
        nodes = nodes if isinstance(nodes, dict) else {}
        self._ids = frozenset(name for name in nodes if NODE_ID.fullmatch(name))
        for name in nodes:
            if name not in self._ids:
                detail = (
                    f"{name[:80]!r} is no node id: a letter or _, then letters, digits and _, at most 63 characters"
                )
                self._report.add("invalid_identifier", detail, pointer_below("/nodes", name), at_key=True)
        compiled: dict[str, tuple[Node, NodeTemplates]] = {}
        for name, body in nodes.items():
            if isinstance(body, dict) and name in self._ids:
                compiled[name] = self._node(name, body, pointer_below("/nodes", name))
        self._check_order(compiled, nodes)
        order = in_order({name: node.needs for name, (node, _) in compiled.items()})
        flow = self._flow(value, {name: compiled[name][0] for name in order})
        everywhere = self._language(Names(self._ids))
        only_input = self._language(Names(execution=False))
        return Compiled(
            flow=flow,
            nodes={name: templates for name, (_, templates) in compiled.items()},
            output=self._builder.template(value["output"], everywhere, "/output") if "output" in value else None,
            limit_key=self._limit_key(flow.concurrency, only_input, "/concurrency/key"),
            rate_key=self._limit_key(flow.rate, only_input, "/rate/key"),
            doubts=[doubt for read in self._builder.input_reads if (doubt := _doubt(flow.input_schema, read))],
        )

    def _limit_key(self, limit: Concurrency | Rate | None, language: Language, pointer: str) -> Template | None:
        if limit is None or limit.key is None:
            return None
        return self._builder.template(limit.key, language, pointer)

    def _language(self, names: Names) -> Language:
        if names not in self._languages:
            self._languages[names] = Language(names)
        return self._languages[names]

    # --------------------------------------------------------------------------------- flow fields

    def _flow(self, value: dict[str, Any], nodes: dict[str, Node]) -> Flow:
        schema = value.get("input", {})
        schema = expand_shorthand(schema) if isinstance(schema, dict | bool) else {}
        for finding in check_schema(schema):
            shown = schema is value.get("input") or "/properties" not in finding.pointer
            pointer = finding.pointer if shown else finding.pointer.removeprefix("/properties")
            self._report.add(finding.code, finding.detail, f"/input{pointer}")
        triggers = value.get("triggers", [])
        check_triggers(triggers, self._report)
        return Flow(
            id=self._flow_id(value.get("id")),
            nodes=nodes,
            description=_of(value, "description", str),
            input_schema=schema,
            output=value.get("output"),
            timeout=self._duration(value, "timeout", "", low=1, high=MAX_DURATION),
            concurrency=self._concurrency(value.get("concurrency")),
            rate=self._rate(value.get("rate")),
            priority=_of(value, "priority", int, 5),
            queue=self._queue(value, "") or "default",
            requires=self._requires(value, "") or (),
            tags=_of(value, "tags", dict, {}),
            max_recoveries=_of(value, "max_recoveries", int, DEFAULT_MAX_RECOVERIES),
            triggers=tuple(triggers) if isinstance(triggers, list) else (),
        )

    def _flow_id(self, text: Any) -> str:
        if not isinstance(text, str):
            return ""
        try:
            return qualified(text)
        except ValueError as error:
            self._report.add("invalid_identifier", str(error), "/id")
            return ""

    def _queue(self, value: dict[str, Any], pointer: str) -> str | None:
        queue: str | None = _of(value, "queue", str)
        if queue is not None and not is_segment(queue):
            detail = (
                f"{queue[:80]!r} is no queue: a-z 0-9 _ . -, beginning with a letter or digit, at most 63 characters"
            )
            self._report.add("invalid_identifier", detail, f"{pointer}/queue")
        return queue

    def _requires(self, value: dict[str, Any], pointer: str) -> tuple[str, ...] | None:
        written = _of(value, "requires", list)
        if written is None:
            return None
        tags = [tag for tag in written if isinstance(tag, str)]
        for number, tag in enumerate(tags):
            if not is_segment(tag):
                detail = f"{tag[:80]!r} is no worker's tag: a-z 0-9 _ . -, beginning with a letter or digit, at most 63"
                self._report.add("invalid_identifier", detail, f"{pointer}/requires/{number}")
        return tuple(sorted(set(tags)))

    def _concurrency(self, value: Any) -> Concurrency | None:
        if not isinstance(value, dict) or not isinstance(value.get("limit"), int):
            return None
        return Concurrency(value["limit"], value.get("key"), _member(OnLimit, value.get("on_limit"), OnLimit.QUEUE))

    def _rate(self, value: Any) -> Rate | None:
        if not isinstance(value, dict) or not isinstance(value.get("limit"), int):
            return None
        per = self._duration(value, "per", "/rate", low=SECOND // 1000, high=_MAX_PER)
        return Rate(value["limit"], per or SECOND, value.get("key"))

    def _duration(self, value: dict[str, Any], field: str, pointer: str, *, low: int, high: int) -> int | None:
        written = value.get(field)
        if not isinstance(written, str | int | float) or isinstance(written, bool):
            return None
        return self._micros(written, f"{pointer}/{field}", low, high)

    def _micros(self, written: str | float, pointer: str, low: int, high: int) -> int | None:
        span = f"{'above 0' if low == 1 else 'from ' + format_duration(low)} to {high // DAY}d"
        try:
            micros = parse_duration(written)
        except ValueError as error:
            known = "is no duration" in str(error)
            detail = f"{error}; allowed is {span}" if known else f"{written!r} is out of range: {span}"
            self._report.add("invalid_duration" if known else "out_of_range", detail, pointer)
            return None
        if not low <= micros <= high:
            self._report.add("out_of_range", f"{written!r} is out of range: {span}", pointer)
            return None
        return micros

    # --------------------------------------------------------------------------------- nodes

    def _node(self, name: str, body: dict[str, Any], pointer: str) -> tuple[Node, NodeTemplates]:
        kind = self._node_type(body, pointer)
        is_foreach = body.get("foreach") is not None
        plain = self._language(Names(self._ids))
        inner = Names(self._ids, item=is_foreach, secrets=True)
        templates = self._templates(kind, body, self._language(inner), pointer)
        if isinstance(when := _when(body), str):
            templates.when = self._builder.condition(when, plain, f"{pointer}/when")
        if is_foreach:
            templates.foreach = self._builder.template(body["foreach"], plain, f"{pointer}/foreach")
            if isinstance(body.get("key"), str):
                labels = self._language(Names(self._ids, item=True))
                templates.key = self._builder.template(body["key"], labels, f"{pointer}/key")
        for field in ("parallel", "key", "on_item_error", "spread"):
            if field in body and not is_foreach:
                detail = f"{field} belongs to a node with foreach"
                if field == "spread":
                    detail += "; a single run goes elsewhere by the node's queue or requires"
                self._report.add("invalid_value", detail, f"{pointer}/{field}", at_key=True)
        self._check_leaving(kind, body, templates, pointer)
        undo = self._compensation(body.get("compensate"), name, f"{pointer}/compensate")
        if undo is not None:
            templates.compensate = undo[1]
        references = _references(templates)
        templates.references = references | (undo[1].references if undo else frozenset())
        explicit = [need for need in _of(body, "needs", list, []) if isinstance(need, str)]
        node = self._definition(name, kind, body, pointer, needs=(*explicit, *sorted(references - set(explicit))))
        return msgspec.structs.replace(node, compensate=undo[0] if undo else None), templates

    def _compensation(self, body: Any, owner: str, pointer: str) -> tuple[Node, NodeTemplates] | None:
        if not isinstance(body, dict):
            return None
        kind = self._node_type(body, pointer)
        if kind in ANSWERED:
            detail = f"what undoes a node must not wait for anybody, as {kind} does; ask before, in a node of the flow"
            self._report.add("invalid_value", detail, pointer_below(pointer, kind), at_key=True)
        templates = self._templates(kind, body, self._language(Names(self._ids, secrets=True)), pointer)
        templates.references = _references(templates)
        self._check_leaving(kind, body, templates, pointer)
        return self._definition(owner, kind, body, pointer, needs=()), templates

    def _check_leaving(self, kind: str, body: dict[str, Any], templates: NodeTemplates, pointer: str) -> None:
        """Whether the node's runs may be made by others than their execution's owner, where it asks for that."""
        field = next((field for field in ("spread", "queue", "requires") if body.get(field) not in (None, False)), None)
        if field is None:
            return
        reason = _AT_HOME.get(kind)
        if reason is None and kind in self._node_types and self._node_types[kind].control:
            reason = "the engine carries it out, and nothing runs meanwhile"
        if reason is not None:
            detail = f"{field} belongs to a node that does work (python, shell, http, a plug-in); {kind}: {reason}"
            self._report.add("invalid_value", detail, f"{pointer}/{field}", at_key=True)
        for part in (templates.config, templates.with_, templates.env):
            for worked in part.worked_secrets:
                detail = (
                    f"a node with {field} takes a secret just as ${{secrets.<name>}}, which is filled in where it runs: "
                    "what is made of secrets would be stored"
                )
                fault = Fault("invalid_expression", detail, worked.offset)
                self._report.fault(worked.pointer, worked.text, fault)

    def _node_type(self, body: dict[str, Any], pointer: str) -> str:
        kinds = [field for field in body if field in self._node_types]
        if len(kinds) == 1:
            if kinds[0] == "flow":
                self._check_address(body["flow"], f"{pointer}/flow")
            elif kinds[0] == ASK:
                self._check_form(body[ASK], f"{pointer}/{ASK}")
            return kinds[0]
        known = ", ".join(sorted(self._node_types))
        if kinds:
            detail = f"a node has one type, this one has {len(kinds)}: {', '.join(kinds)}"
            self._report.add("node_type", detail, pointer)
        elif not any(field not in COMMON_NODE_FIELDS and field != "compensate" for field in body):
            self._report.add("node_type", f"a node needs a type: one of {known}", pointer)
        return kinds[0] if kinds else ""

    def _check_address(self, config: Any, pointer: str) -> None:
        """A child's address that holds no template is known to be good or bad now."""
        address = config.get("flow") if isinstance(config, dict) else config
        if isinstance(address, str) and "${" not in address:
            try:
                qualified(address)
            except ValueError as error:
                self._report.add(
                    "invalid_identifier", str(error), f"{pointer}/flow" if isinstance(config, dict) else pointer
                )

    def _check_form(self, config: Any, pointer: str) -> None:
        """A form without a template is known to be good or bad now, and so is what stands for its answer."""
        form = config.get("form") if isinstance(config, dict) else None
        if not isinstance(form, dict) or "${" in encode_text(form):
            return
        found = check_form(form)
        for finding in found:
            self._report.add(finding.code, finding.detail, f"{pointer}/form{finding.pointer}")
        on_expiry = config.get("on_expiry")
        if found or not isinstance(on_expiry, dict) or "value" not in on_expiry or "${" in encode_text(on_expiry):
            return
        try:
            check_answer(expand_form(form), on_expiry["value"])
        except InvalidAnswer as error:
            for problem in error.problems:
                self._report.add(problem.code, problem.detail, f"{pointer}/on_expiry/value{problem.pointer or ''}")

    def _templates(self, kind: str, body: dict[str, Any], language: Language, pointer: str) -> NodeTemplates:
        config, with_, env = body.get(kind), body.get("with", {}), body.get("env", {})
        return NodeTemplates(
            config=self._builder.template(config, language, pointer_below(pointer, kind)),
            with_=self._builder.template(with_, language, f"{pointer}/with"),
            env=self._builder.template(env, language, f"{pointer}/env"),
        )

    def _definition(self, name: str, kind: str, body: dict[str, Any], pointer: str, *, needs: tuple[str, ...]) -> Node:
        return Node(
            id=name,
            type=kind,
            config=body.get(kind),
            needs=needs,
            when=_when(body),
            run_if=_member(RunIf, body.get("run_if"), RunIf.SUCCEEDED),
            foreach=body.get("foreach"),
            parallel=_of(body, "parallel", int),
            key=_of(body, "key", str),
            on_item_error=_on_item_error(body),
            spread=_of(body, "spread", bool, False),
            queue=self._queue(body, pointer),
            requires=self._requires(body, pointer),
            retry=self._retry(body.get("retry"), f"{pointer}/retry"),
            timeout=self._duration(body, "timeout", pointer, low=1, high=MAX_DURATION),
            with_=_of(body, "with", dict, {}),
            env=_of(body, "env", dict, {}),
            isolation=_member(Isolation, body.get("isolation"), None),
            on_interrupt=_member(OnInterrupt, body.get("on_interrupt"), OnInterrupt.RERUN),
            description=_of(body, "description", str),
        )

    def _retry(self, value: Any, pointer: str) -> Retry:
        if not isinstance(value, dict):
            return Retry()
        low, high = self._backoff(value.get("backoff", "1s..60s"), f"{pointer}/backoff")
        names = tuple(name for name in _of(value, "on", list, []) if isinstance(name, str))
        return Retry(attempts=_of(value, "attempts", int, 1), backoff_min=low, backoff_max=high, on=names)

    def _backoff(self, written: Any, pointer: str) -> tuple[int, int]:
        if isinstance(written, bool) or not isinstance(written, str | int | float):
            return SECOND, SECOND
        ends = written.split("..") if isinstance(written, str) else [written]
        if len(ends) > 2:
            self._report.add("invalid_duration", f"{written!r} is no range; write 1s..60s or 5s", pointer)
            return SECOND, SECOND
        micros = [self._micros(end.strip() if isinstance(end, str) else end, pointer, 0, _MAX_BACKOFF) for end in ends]
        low, high = micros[0] or 0, micros[-1] or 0
        if None not in micros and low > high:
            self._report.add("out_of_range", f"{written!r} begins above its end", pointer)
        return low, high

    # --------------------------------------------------------------------------------- order

    def _check_order(self, compiled: dict[str, tuple[Node, NodeTemplates]], bodies: dict[str, Any]) -> None:
        needs: dict[str, list[str]] = {}
        for name, (node, _) in compiled.items():
            for number, need in enumerate(_of(bodies[name], "needs", list, [])):
                if isinstance(need, str) and need not in bodies:
                    detail = f"there is no node {need!r} to need{nearest(need, self._ids)}"
                    self._report.add("unknown_node", detail, pointer_of(("nodes", name, "needs", number)))
            needs[name] = [need for need in node.needs if need in compiled]
        for cycle in find_cycles(needs):
            detail = (
                f"the nodes wait for each other: {' → '.join(cycle)}" if len(cycle) > 2 else f"{cycle[0]} needs itself"
            )
            self._report.add("cycle", detail, pointer_below("/nodes", cycle[0]), at_key=True)
        for name, (_, templates) in compiled.items():
            undo = templates.compensate
            if undo is not None:
                before = ancestors(name, needs) | {name}
                for other in sorted(undo.references - before):
                    detail = (
                        f"compensate of {name} may refer to {name} and the nodes before it; {other} is none of them"
                    )
                    self._report.add("unknown_node", detail, pointer_of(("nodes", name, "compensate")))


def _doubt(schema: dict[str, Any], read: InputRead) -> Doubt | None:
    detail = undeclared(schema, read.path)
    if detail is None:
        return None
    written = "".join(rf"\W+{re.escape(part)}" for part in read.path)
    found = re.search(rf"\binput{written}(?!\w)", read.text[read.offset :])
    offset = read.offset + (found.start() if found else 0)
    return Doubt(read.pointer, read.text, Fault("unknown_name", detail, offset))


def _references(templates: NodeTemplates) -> frozenset[str]:
    parts = (templates.config, templates.with_, templates.env, templates.when, templates.foreach, templates.key)
    return frozenset().union(*(part.nodes for part in parts if part is not None))


def _when(body: dict[str, Any]) -> str | None:
    when: Any = body.get("when")
    if isinstance(when, bool):
        return "true" if when else "false"
    return when if isinstance(when, str) else None


def _on_item_error(body: dict[str, Any]) -> OnItemError:
    """A bare `null` means the same as the text: nobody who writes it asks for the default."""
    value = body.get("on_item_error", OnItemError.FAIL)
    return OnItemError.NULL if value is None else _member(OnItemError, value, OnItemError.FAIL)


def _of(value: dict[str, Any], field: str, kind: type, default: Any = None) -> Any:
    """The member when it has the type, else the default (the schema has told)."""
    found = value.get(field, default)
    return found if isinstance(found, kind) and not (kind is int and isinstance(found, bool)) else default


def _member(kind: Any, value: Any, default: Any) -> Any:
    return kind(value) if isinstance(value, str) and value in kind.__members__.values() else default
