"""CEL expressions: checked by Google's implementation when a flow is compiled, then evaluated often.

What an expression may name is declared (`Names`), so that a misspelt node or field is found when
the flow is compiled, with its place, and not when it runs.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

from perdure.base.codec import VALUE_LIMIT, Json
from perdure.base.nearest import nearest, nearest_or_all
from perdure.flows.evaluation import Compiler, Evaluate, Frame, UnsupportedExpression
from perdure.flows.functions import DECLARED
from perdure.flows.operators import BudgetExceeded, EvaluationError, type_name
from perdure.flows.syntax_tree import Expr, Ident, Select, decode_tree, idents, member_paths

MAX_EXPRESSION = 10_000
"""Characters of one expression."""
MAX_BUILT_VALUES = 500_000
"""Values in what an expression builds, each counted wherever it stands."""

NODE_FIELDS = ("output", "status", "error")
EXECUTION_FIELDS = ("id", "number", "workspace", "namespace", "flow", "version", "created_at", "tags", "trigger")

FUNCTIONS = (
    "size", "contains", "startsWith", "endsWith", "matches", "map", "filter", "all", "exists", "exists_one", "has",
    "charAt", "format", "indexOf", "join", "lastIndexOf", "lowerAscii", "quote", "replace", "reverse", "split", "substring",
    "trim", "upperAscii", "int", "uint", "double", "string", "bool", "bytes", "timestamp", "duration", "dyn", "type",
    "orValue", "hasValue", "optMap", "greatest", "least", "ceil", "floor", "round", "abs", "sqrt", "encode", "decode", "bind",
    "getFullYear", "getMonth", "getDate", "getHours", "getMinutes", "getSeconds", "getDayOfWeek",
)  # fmt: skip
"""What may be meant by a misspelt function."""

_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_WORD_AS_NAME = re.compile(r"\.\??\s*(in|true|false|null)\b")
"""A name that is a word of the language; any other may stand behind a dot as it is."""
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")


class Names(msgspec.Struct, frozen=True):
    """What the expressions of one place may name."""

    nodes: frozenset[str] = frozenset()
    item: bool = False
    secrets: bool = False
    execution: bool = True


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with an expression; `offset` counts characters from its start."""

    code: str
    detail: str
    offset: int = 0


class ExpressionInvalid(Exception):
    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(fault.detail for fault in faults))
        self.faults = faults


class Language:
    """CEL with the variables of one `Names`."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._variables: dict[str, Callable[[Any], Any]] = {"input": lambda scope: scope.input}
        types = {"input": cel.Type.DYN}
        if names.item:
            self._variables["item"] = lambda scope: scope.item
            self._variables["index"] = lambda scope: scope.index
            types |= {"item": cel.Type.DYN, "index": cel.Type.INT}
        if names.secrets:
            self._variables["secrets"] = lambda scope: scope.secrets
            types["secrets"] = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)
        for node in names.nodes:
            for field in NODE_FIELDS:
                self._variables[f"nodes.{node}.{field}"] = _node_reader(node, field)
                types[f"nodes.{node}.{field}"] = cel.Type.DYN
        if names.execution:
            for field in EXECUTION_FIELDS:
                self._variables[f"execution.{field}"] = _execution_reader(field)
                types[f"execution.{field}"] = _EXECUTION_TYPES.get(field, cel.Type.STRING)
        self._env = cel.NewEnv(variables=types | DECLARED, extensions=_EXTENSIONS)

    def compile(self, text: str) -> Expression:
        """Raises ExpressionInvalid with every fault that the checker finds."""
        if len(text) > MAX_EXPRESSION:
            detail = f"the expression has {len(text)} characters, at most {MAX_EXPRESSION} are allowed"
            raise ExpressionInvalid([Fault("limit_exceeded", detail)])
        try:
            checked = self._env.compile(text)
        except (RuntimeError, TypeError) as error:
            raise ExpressionInvalid(self._faults(text, str(error))) from None
        tree = decode_tree(checked.serialize())
        compiler = Compiler(tree, self._env, self._variables)
        try:
            root = compiler.compile(tree.root)
        except UnsupportedExpression as error:
            raise ExpressionInvalid([Fault("invalid_expression", str(error))]) from None
        read = {name for name in idents(tree.root) if name in self._variables}
        nodes = frozenset(name.split(".")[1] for name in read if name.startswith("nodes."))
        secrets = _secrets(tree.root) if "secrets" in read else frozenset()
        inputs = frozenset(member_paths(tree.root, "input")) if "input" in read else frozenset()
        return Expression(text, nodes, root, compiler.slots, compiler.builds, secrets=secrets, inputs=inputs)

    def _faults(self, text: str, message: str) -> list[Fault]:
        faults: list[Fault] = []
        for line, column, what in _ERROR.findall(message):
            offset = _offset(text, int(line), int(column))
            undeclared = _UNDECLARED.search(what)
            if undeclared:
                fault = self._undeclared(undeclared[1], text, offset)
                # `a.b.c` is told at its last dot, its namesakes again and again.
                if fault is not None and fault.detail not in {known.detail for known in faults}:
                    faults.append(fault)
            elif word := next((found[1] for found in _WORD_AS_NAME.finditer(text) if found.start(1) == offset), None):
                detail = f"{word} is a word of the expression language; as a name write it in backticks: `{word}`"
                faults.append(Fault("invalid_expression", detail, offset))
            elif "recursion" in what:
                faults.append(Fault("expression_budget", "the expression is nested too deeply (32 levels)"))
            else:
                faults.append(Fault("invalid_expression", _plainer(what), offset))
        if faults:
            return faults
        if "recursion" in message.lower():
            return [Fault("expression_budget", "the expression is nested too deeply (32 levels)")]
        return [Fault("invalid_expression", message.splitlines()[0] if message else "this is no CEL expression")]

    def _undeclared(self, name: str, text: str, offset: int) -> Fault | None:
        """What a name that is not declared most likely should have been."""
        if text.startswith("(", offset):
            return Fault("invalid_expression", f"unknown function {name!r}{nearest_or_all(name, FUNCTIONS)}", offset)
        root, *path = name.split(".")
        found = re.search(rf"(?<![\w.]){re.escape(root)}\b", text)
        start = text.rfind(root, 0, offset + len(root)) if found else offset
        start = max(start, 0)
        if root == "nodes":
            return self._unknown_node(path, start)
        if root == "execution" and self._names.execution:
            fields = ", ".join(EXECUTION_FIELDS)
            field = path[0] if path else ""
            detail = f"execution has no field {field!r}{nearest(field, EXECUTION_FIELDS)} (there are {fields})"
            return Fault("unknown_name", detail if field else f"write execution.<field>: {fields}", start)
        if root in ("item", "index"):
            return Fault(
                "unknown_name", f"{root} is known only in a node with foreach, and not in its foreach or when", start
            )
        if root == "secrets":
            detail = (
                "secrets may be used only in a node's configuration, with and env: elsewhere they would be recorded"
            )
            return Fault("unknown_name", detail, start)
        known = sorted({variable.split(".")[0] for variable in self._variables})
        return Fault(
            "unknown_name", f"unknown name {name!r}{nearest(name, known)} (known here: {', '.join(known)})", start
        )

    def _unknown_node(self, path: list[str], start: int) -> Fault:
        if not path:
            return Fault("unknown_name", "write nodes.<id>.output, .status or .error", start)
        node = path[0]
        if node not in self._names.nodes:
            return Fault(
                "unknown_node", f"there is no node {node!r} to refer to{nearest(node, self._names.nodes)}", start
            )
        if len(path) == 1:
            return Fault("unknown_name", f"write nodes.{node}.output, nodes.{node}.status or nodes.{node}.error", start)
        detail = f"a node has output, status and error, no {path[1]!r}{nearest(path[1], NODE_FIELDS)}"
        return Fault("unknown_name", detail, start)


class Expression:
    """A compiled expression; safe to evaluate from any thread."""

    __slots__ = ("_builds", "_root", "_slots", "inputs", "nodes", "secrets", "text")

    def __init__(
        self,
        text: str,
        nodes: frozenset[str],
        root: Evaluate,
        slots: int,
        builds: bool,
        *,
        secrets: frozenset[str] | None = frozenset(),
        inputs: frozenset[tuple[str, ...]] = frozenset(),
    ) -> None:
        self.text = text
        self.nodes = nodes
        """Ids of the nodes that it reads."""
        self.secrets = secrets
        """The secret whose value it is, if it is one's; None when it makes something of secrets."""
        self.inputs = inputs
        """Members of the input that it reads, each as the path to it."""
        self._root = root
        self._slots = slots
        self._builds = builds

    def evaluate(self, scope: Any) -> Json:
        """Its value as JSON. It may share containers with the scope: do not change them.

        Args:
            scope: has the attributes input, nodes, execution, item, index and secrets.

        Raises:
            EvaluationError: it has no value for this data.
            BudgetExceeded: it costs too much, or its value is too large.
        """
        try:
            value = self._root(Frame(scope, self._slots))
            if self._builds:
                return _Builder().take(value)
        except RecursionError:
            raise BudgetExceeded("its data is nested too deeply") from None
        if type(value) is float and not math.isfinite(value):
            raise EvaluationError("the result is infinite or not a number, which JSON cannot hold")
        return value


class _Builder:
    """Copies what an expression built into a JSON value, within bounds."""

    __slots__ = ("_text", "_values")

    def __init__(self) -> None:
        self._values = MAX_BUILT_VALUES
        self._text = VALUE_LIMIT

    def take(self, value: Any) -> Json:
        self._values -= 1
        kind = type(value)
        if kind is str:
            self._text -= len(value)
        elif kind is list:
            self._check()
            return [self.take(item) for item in value]
        elif kind is dict:
            self._check()
            return {self._key(key): self.take(item) for key, item in value.items()}
        elif kind is float:
            if not math.isfinite(value):
                raise EvaluationError("the result is infinite or not a number, which JSON cannot hold")
        elif kind not in _SCALARS:
            return _written(value)
        self._check()
        return value

    def _check(self) -> None:
        if self._values < 0:
            raise BudgetExceeded(f"it builds more than {MAX_BUILT_VALUES} values")
        if self._text < 0:
            raise BudgetExceeded(f"it builds more than {VALUE_LIMIT} characters of text")

    def _key(self, key: Any) -> str:
        if type(key) is not str:
            raise EvaluationError(f"a key of the result is {type_name(key)}; keys are text")
        self._text -= len(key)
        return key


_SCALARS = frozenset({int, bool, type(None)})


def _written(value: Any) -> Json:
    """CEL's other types as JSON: timestamps in RFC 3339, durations in seconds with an s, bytes in base64."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
        sign = "-" if micros < 0 else ""
        seconds, rest = divmod(abs(micros), 1_000_000)
        fraction = f".{rest:06d}".rstrip("0") if rest else ""
        return f"{sign}{seconds}{fraction}s"
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, cel.Type):
        return value.name()
    raise EvaluationError(f"the result is {type_name(value)}, no JSON value")


def _secrets(root: Expr) -> frozenset[str] | None:
    """See `Expression.secrets`; of an expression that reads some."""
    if (
        isinstance(root, Select)
        and not root.is_test
        and isinstance(root.operand, Ident)
        and root.operand.name == "secrets"
    ):
        return frozenset((root.field,))
    return None


def _node_reader(node: str, field: str) -> Callable[[Any], Any]:
    def read(scope: Any) -> Any:
        try:
            return scope.nodes[node][field]
        except KeyError:
            raise EvaluationError(f"nodes.{node}.{field} has no value yet") from None

    return read


def _execution_reader(field: str) -> Callable[[Any], Any]:
    def read(scope: Any) -> Any:
        try:
            return scope.execution[field]
        except KeyError:
            raise EvaluationError(f"execution.{field} has no value here") from None

    return read


_EXTENSIONS = [
    ext_strings.ExtStrings(), ext_math.ExtMath(), ext_encoders.ExtEncoders(), ext_optional.ExtOptional(),
    ext_bindings.ExtBindings(),
]  # fmt: skip
_EXECUTION_TYPES: Mapping[str, cel.Type] = {
    "number": cel.Type.INT,
    "version": cel.Type.INT,
    "tags": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "trigger": cel.Type.DYN,
}


def _offset(text: str, line: int, column: int) -> int:
    lines = text.split("\n")
    if not 1 <= line <= len(lines):
        return 0
    return sum(len(earlier) + 1 for earlier in lines[: line - 1]) + max(column - 1, 0)


def _plainer(message: str) -> str:
    return message.partition(" (in container")[0].partition(" expecting {")[0]
