"""A checked expression made into Python closures over plain JSON values.

Google's implementation parses and checks; evaluating happens here, for three reasons found by
measuring it through its Python binding: a `map` over 10,000 items takes six seconds and 1.6 GB
there, every access converts whole containers, and texts are cut at a NUL character. What is not
an operator, a macro or a path (library functions, optional and unsigned values) is still carried
out by Google's implementation, part by part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cel_expr_python import cel

from perdure.flows import operators
from perdure.flows.functions import MAX_OPERANDS, LibraryPart
from perdure.flows.operators import EvaluationError, Meter, type_name
from perdure.flows.syntax_tree import (
    Call,
    Comprehension,
    Const,
    Expr,
    Ident,
    ListOf,
    MapOf,
    Opaque,
    Select,
    Tree,
    children,
    idents,
    walk,
)


class Frame(Meter):
    """One evaluation: the scope that variables are read from, and what macros bind."""

    __slots__ = ("bound", "scope")

    def __init__(self, scope: Any, slots: int) -> None:
        super().__init__()
        self.scope = scope
        self.bound: list[Any] = [None] * slots


Evaluate = Callable[[Frame], Any]
Variables = Mapping[str, Callable[[Any], Any]]
"""Each variable's name and how its value is read from the scope (raises EvaluationError when there is none)."""


class UnsupportedExpression(Exception):
    """It is CEL, but of a kind whose cost could not be bounded."""


_OPTIONAL_RESULTS = frozenset(
    {"_?._", "_[?_]", "or", "optional.of", "optional.none", "optional.ofNonZeroValue", "optFlatMap"}
)
_UNBOUNDED_IN_PARTS = frozenset({"replace", "join", "format", "matches"})
_MAX_BINDS_IN_PARTS = 4


class Compiler:
    """Turns one tree into closures. `slots` afterwards tells how many values macros bind."""

    def __init__(self, tree: Tree, env: cel.Env, variables: Variables) -> None:
        self.slots = 0
        self.builds = False
        """Whether the result can be larger than the data: then its size must be checked."""
        self._tree = tree
        self._env = env
        self._variables = variables
        self._scope: dict[str, int] = {}

    def compile(self, expr: Expr) -> Evaluate:
        """Raises UnsupportedExpression."""
        if not _is_plain(expr):
            return self._part(expr)
        match expr:
            case Const():
                value = expr.value
                self.builds = self.builds or type(value) is bytes
                return lambda frame: value
            case Ident():
                return self._ident(expr)
            case Select() if _is_plain(expr.operand):
                return self._select(expr)
            case ListOf() if all(map(_is_plain, expr.elements)):
                self.builds = True
                return _list([self.compile(element) for element in expr.elements])
            case MapOf() if all(_is_plain(key) and _is_plain(value) for key, value, _ in expr.entries):
                self.builds = True
                return _map([(self.compile(key), self.compile(value)) for key, value, _ in expr.entries])
            case Call() if all(map(_is_plain, _operands(expr))):
                return self._call(expr)
            case Comprehension() if _is_plain(expr.accu_init) and _is_plain(expr.iter_range):
                return self._comprehension(expr)
        return self._part(expr)

    def _ident(self, expr: Ident) -> Evaluate:
        name = expr.name
        if name not in self._scope:
            read = self._variables[name]
            return lambda frame: read(frame.scope)
        slot = self._scope[name]

        def bound(frame: Frame) -> Any:
            value = frame.bound[slot]
            if type(value) is EvaluationError:
                raise value
            return value

        return bound

    def _select(self, expr: Select) -> Evaluate:
        operand, field = self.compile(expr.operand), expr.field
        if expr.is_test:
            return lambda frame: operators.has_field(operand(frame), field)
        select = operators.select
        return lambda frame: select(operand(frame), field)

    def _call(self, expr: Call) -> Evaluate:
        function = expr.function
        operands = [self.compile(operand) for operand in _operands(expr)]
        if binary := operators.BINARY.get(function):
            if function == "_+_":
                self.builds = True
            left, right = operands
            return lambda frame: binary(frame, left(frame), right(frame))
        if build := _CONTROL.get(function):
            return build(operands)
        if function == "-_":
            (operand,) = operands
            return lambda frame: operators.negate(frame, operand(frame))
        if function == "_[_]":
            left, right = operands
            return lambda frame: operators.index(left(frame), right(frame))
        if function == "size" and len(operands) == 1:
            (operand,) = operands
            return lambda frame: operators.size(frame, operand(frame))
        if function in _TEXT_TESTS and len(operands) == 2:
            return _text_test(function, operands[0], operands[1])
        self.builds = True
        return self._library(expr, operands)

    def _library(self, expr: Call, operands: list[Evaluate]) -> Evaluate:
        """A function of CEL's library on values that are evaluated here."""
        part = LibraryPart(self._env, self._tree, expr, _operands(expr), expr.function)
        return lambda frame: part.run(frame, [operand(frame) for operand in operands])

    def _part(self, expr: Expr) -> Evaluate:
        """A part with values that Python does not hold, evaluated by Google's implementation; paths are given."""
        _check_bounded(expr)
        self.builds = True
        inside = {
            name for part in walk(expr) if isinstance(part, Comprehension) for name in (part.iter_var, part.accu_var)
        }
        paths = list(self._paths(expr, inside))
        if len(paths) > MAX_OPERANDS:
            raise UnsupportedExpression(f"more than {MAX_OPERANDS} values in one optional or unsigned value")
        part = LibraryPart(self._env, self._tree, expr, paths)
        given = [self.compile(path) for path in paths]
        named = {
            name: self._ident(Ident(0, True, name))
            for opaque in walk(expr) if isinstance(opaque, Opaque)
            for name in idents(opaque) - inside
            if name in self._scope or name in self._variables
        }  # fmt: skip
        return lambda frame: part.run(
            frame, [_or_error(path, frame) for path in given], {name: read(frame) for name, read in named.items()}
        )

    def _paths(self, expr: Expr, inside: set[str]) -> Iterator[Expr]:
        """The largest parts that are plain paths from a variable which is not bound inside."""
        root = _path_root(expr)
        if root is not None:
            if root not in inside and (root in self._scope or root in self._variables):
                yield expr
            return
        for child in children(expr):
            yield from self._paths(child, inside)

    def _comprehension(self, expr: Comprehension) -> Evaluate:
        items = self.compile(expr.iter_range)
        outer = dict(self._scope)
        accu_slot, item_slot = self.slots, self.slots + 1
        self.slots += 2
        init = self.compile(expr.accu_init)
        self._scope = {**outer, expr.accu_var: accu_slot}
        result = self.compile(expr.result)
        self._scope[expr.iter_var] = item_slot
        cost = sum(1 for _ in walk(expr.loop_step)) + 1
        appended = _appended(expr)
        if appended is not None:
            self.builds = True
            test, element = appended
            keep = self.compile(test) if test is not None else None
            evaluate = _append_loop(items, keep, self.compile(element), result, (accu_slot, item_slot, cost))
        else:
            condition, step = self.compile(expr.loop_condition), self.compile(expr.loop_step)
            evaluate = _fold_loop(items, init, (condition, step), result, (accu_slot, item_slot, cost))
        self._scope = outer
        return evaluate


def _check_bounded(expr: Expr) -> None:
    binds = 0
    for part in walk(expr):
        if isinstance(part, Comprehension):
            binds += 1
            if not (isinstance(part.iter_range, ListOf) and not part.iter_range.elements):
                raise UnsupportedExpression("a list macro over unsigned, optional or type values is not supported")
        elif isinstance(part, Call) and part.function in _UNBOUNDED_IN_PARTS:
            raise UnsupportedExpression(f"{part.function} within an optional or unsigned value is not supported")
    if binds > _MAX_BINDS_IN_PARTS:
        raise UnsupportedExpression("too many cel.bind or optMap within an optional or unsigned value")


def _path_root(expr: Expr) -> str | None:
    """The variable that a path begins with; None when it is no path of fields and constant keys."""
    while True:
        if isinstance(expr, Ident):
            return expr.name if expr.is_plain else None
        if isinstance(expr, Select) and expr.is_plain and not expr.is_test:
            expr = expr.operand
        elif isinstance(expr, Call) and expr.is_plain and expr.function == "_[_]" and isinstance(expr.args[1], Const):
            expr = expr.args[0]
        else:
            return None


def _or_error(evaluate: Evaluate, frame: Frame) -> Any:
    try:
        return evaluate(frame)
    except EvaluationError as error:
        return error


def _operands(expr: Call) -> list[Expr]:
    return [expr.target, *expr.args] if expr.target is not None else expr.args


def _is_plain(expr: Expr) -> bool:
    """Whether Python holds the part's value, told by its static type or, where that is dyn, by its making."""
    if not expr.is_plain or isinstance(expr, Opaque):
        return isinstance(expr, Opaque) and expr.is_plain
    if isinstance(expr, Call):
        return expr.function not in _OPTIONAL_RESULTS and (expr.function != "_[_]" or _is_plain(expr.args[0]))
    if isinstance(expr, Select):
        return _is_plain(expr.operand)
    return True


def _list(elements: list[Evaluate]) -> Evaluate:
    return lambda frame: [element(frame) for element in elements]


def _map(entries: list[tuple[Evaluate, Evaluate]]) -> Evaluate:
    def evaluate(frame: Frame) -> dict[str, Any]:
        result = {}
        for key, value in entries:
            name = key(frame)
            if type(name) is not str:
                raise EvaluationError(f"a key of the map is {type_name(name)}; keys are text")
            if name in result:
                raise EvaluationError(f"the key {name[:40]!r} stands twice in the map")
            result[name] = value(frame)
        return result

    return evaluate


def _truth(value: Any, sign: str) -> bool:
    if type(value) is bool:
        return value
    raise EvaluationError(f"{sign} needs a bool, not {type_name(value)}")


def _either(decisive: bool, sign: str) -> Callable[[list[Evaluate]], Evaluate]:
    """`||` and `&&`: an error on one side does not matter when the other side decides."""

    def build(operands: list[Evaluate]) -> Evaluate:
        left, right = operands

        def evaluate(frame: Frame) -> bool:
            try:
                if _truth(left(frame), sign) is decisive:
                    return decisive
            except EvaluationError as error:
                if _truth(right(frame), sign) is decisive:
                    return decisive
                raise error
            return _truth(right(frame), sign)

        return evaluate

    return build


def _not(operands: list[Evaluate]) -> Evaluate:
    (operand,) = operands
    return lambda frame: not _truth(operand(frame), "!")


def _conditional(operands: list[Evaluate]) -> Evaluate:
    condition, then, otherwise = operands
    return lambda frame: then(frame) if _truth(condition(frame), "?:") else otherwise(frame)


def _not_strictly_false(operands: list[Evaluate]) -> Evaluate:
    (operand,) = operands

    def evaluate(frame: Frame) -> bool:
        try:
            return operand(frame) is not False
        except EvaluationError:
            return True

    return evaluate


def _identity(operands: list[Evaluate]) -> Evaluate:
    return operands[0]


_CONTROL: dict[str, Callable[[list[Evaluate]], Evaluate]] = {
    "_||_": _either(True, "||"),
    "_&&_": _either(False, "&&"),
    "!_": _not,
    "_?_:_": _conditional,
    "@not_strictly_false": _not_strictly_false,
    "dyn": _identity,
}

_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
}


def _text_test(function: str, target: Evaluate, argument: Evaluate) -> Evaluate:
    test = _TEXT_TESTS[function]

    def evaluate(frame: Frame) -> bool:
        text, part = target(frame), argument(frame)
        if type(text) is not str or type(part) is not str:
            raise EvaluationError(f"{type_name(text)}.{function}({type_name(part)}) is not defined")
        frame.charge(len(text) >> 6)
        return test(text, part)

    return evaluate


def _appended(expr: Comprehension) -> tuple[Expr | None, Expr] | None:
    """(condition, element) of what `map` and `filter` expand to: a loop that appends to a list."""
    step, condition = expr.loop_step, None
    if not (isinstance(expr.accu_init, ListOf) and not expr.accu_init.elements):
        return None
    if isinstance(step, Call) and step.function == "_?_:_" and _is_ident(step.args[2], expr.accu_var):
        condition, step = step.args[0], step.args[1]
    if not (isinstance(step, Call) and step.function == "_+_" and _is_ident(step.args[0], expr.accu_var)):
        return None
    added = step.args[1]
    if isinstance(added, ListOf) and len(added.elements) == 1:
        return condition, added.elements[0]
    return None


def _is_ident(expr: Expr, name: str) -> bool:
    return isinstance(expr, Ident) and expr.name == name


def _iterable(value: Any) -> list[Any]:
    if type(value) is list:
        return value
    if type(value) is dict:
        return list(value)
    raise EvaluationError(f"{type_name(value)} is no list or map")


def _append_loop(
    items: Evaluate, keep: Evaluate | None, element: Evaluate, result: Evaluate, loop: tuple[int, int, int]
) -> Evaluate:
    accu_slot, item_slot, cost = loop

    def evaluate(frame: Frame) -> Any:
        collected: list[Any] = []
        bound = frame.bound
        for item in _iterable(items(frame)):
            frame.charge(cost)
            bound[item_slot] = item
            if keep is None or _truth(keep(frame), "the condition of a macro"):
                collected.append(element(frame))
        bound[accu_slot] = collected
        return result(frame)

    return evaluate


def _fold_loop(
    items: Evaluate, init: Evaluate, body: tuple[Evaluate, Evaluate], result: Evaluate, loop: tuple[int, int, int]
) -> Evaluate:
    condition, step = body
    accu_slot, item_slot, cost = loop

    def evaluate(frame: Frame) -> Any:
        bound = frame.bound
        over = _iterable(items(frame))
        bound[accu_slot] = _or_error(init, frame)
        for item in over:
            frame.charge(cost)
            bound[item_slot] = item
            if condition(frame) is False:
                break
            try:
                bound[accu_slot] = step(frame)
            except EvaluationError as error:
                # An error is a value here: a later item may still decide an `exists` or `all`. What it was raised
                # beside is let go of, else each item's error would hold all those before it.
                error.__context__ = None
                bound[accu_slot] = error.with_traceback(None)
        return result(frame)

    return evaluate
