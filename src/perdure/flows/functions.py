"""Parts of expressions that Google's implementation carries out: functions, optional and unsigned values.

Its Python binding cuts texts at a NUL character and takes times only for variables declared as
times; both is made up for here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cel_expr_python import cel

from perdure.base.codec import Json
from perdure.base.texts import cut
from perdure.flows import operators
from perdure.flows.operators import BudgetExceeded, EvaluationError
from perdure.flows.syntax_tree import Expr, Tree, encode_part

_TOO_LARGE = re.compile(r"Integer value '(-?\d+)' out of range for '_")

MAX_OPERANDS = 32
"""Values that one part may be given."""

_COST = 40
_PREFIXES = {datetime: "_t", timedelta: "_d"}

DECLARED: dict[str, cel.Type] = {
    **{f"_t{number}": cel.Type.TIMESTAMP for number in range(MAX_OPERANDS)},
    **{f"_d{number}": cel.Type.DURATION for number in range(MAX_OPERANDS)},
}
"""Variables that an environment must declare so that times can be given to a part."""


class LibraryPart:
    """One part with the values of some of its own parts given.

    Args:
        operands: the parts whose values are given to `run`.
        guard: judges the values of a function that builds text; raises BudgetExceeded.
    """

    __slots__ = ("_env", "_expr", "_guard", "_operands", "_programs", "_tree")

    def __init__(self, env: cel.Env, tree: Tree, expr: Expr, operands: list[Expr], function: str = "") -> None:
        self._env = env
        self._tree = tree
        self._expr = expr
        self._operands = operands
        self._guard = _GUARDS.get(function)
        self._programs: dict[tuple[str, ...], cel.Expression] = {}
        self._program(tuple(f"_{number}" for number in range(len(operands))))

    def run(self, meter: operators.Meter, values: list[Any], named: dict[str, Any] | None = None) -> Any:
        """The part's value. An EvaluationError among the values counts only if it is needed.

        Args:
            named: values for variables that keep their names.
        """
        meter.charge(_COST + sum(map(_weight, values)))
        if self._guard is not None:
            self._guard(values)
        names = tuple(f"{_PREFIXES.get(type(value), '_')}{number}" for number, value in enumerate(values))
        data = {name: value for name, value in zip(names, values, strict=True) if type(value) is not EvaluationError}
        if named:
            meter.charge(sum(map(_weight, named.values())))
            data.update(named)
        for value in data.values():
            if has_nul(value):
                raise EvaluationError("a text with a NUL character cannot be given to a function")
        try:
            return _run(self._program(names), data)
        except EvaluationError:
            for value in values:
                if type(value) is EvaluationError:
                    raise value from None
            raise

    def _program(self, names: tuple[str, ...]) -> cel.Expression:
        program = self._programs.get(names)
        if program is None:
            replaced = {operand.id: name for operand, name in zip(self._operands, names, strict=True)}
            program = self._env.deserialize(encode_part(self._tree, self._expr, replaced))
            self._programs[names] = program
        return program


def has_nul(value: Json) -> bool:
    kind = type(value)
    if kind is str:
        return "\0" in value
    if kind is list or kind is dict:
        return b"\\u0000" in msgspec.json.encode(value)
    return kind in (bytes, bytearray) and 0 in value


def _run(program: cel.Expression, data: dict[str, Any]) -> Any:
    try:
        result = program.eval(data=data)
        value = result.plain_value()
    except TypeError:
        raise EvaluationError("the result is an optional value; take it out with orValue(…)") from None
    except (RuntimeError, OverflowError) as error:
        text = str(error)
        if "budget" in text:
            raise BudgetExceeded("it takes too many steps") from None
        raise EvaluationError(_reason(text)) from None
    if result.type() == cel.Type.ERROR:
        raise EvaluationError(_reason(str(value)))
    return value


def _reason(text: str) -> str:
    """The library's message without its status words and the names that we gave to values."""
    if large := _TOO_LARGE.search(text):
        return f"the integer {cut(large[1], 40)} is beyond 64 bits, which no function takes"
    head, _, rest = text.partition(": ")
    reason = rest if head.isupper() and rest else text
    return reason.partition(" [")[0]


def _weight(value: Any) -> int:
    """What it costs to hand a value over."""
    if type(value) is str:
        return len(value) >> 2
    if type(value) in (list, dict):
        return len(value) * 4
    return 0


def _guard_replace(values: list[Any]) -> None:
    if len(values) >= 3 and all(type(value) is str for value in values[:3]):
        text, old, new = values[:3]
        count = text.count(old) if old else len(text) + 1
        _bound_text(len(text) + count * len(new))


def _guard_join(values: list[Any]) -> None:
    if type(values[0]) is list:
        separator = len(values[1]) if len(values) > 1 and type(values[1]) is str else 0
        total = sum(len(item) for item in values[0] if type(item) is str)
        _bound_text(total + separator * len(values[0]))


def _guard_format(values: list[Any]) -> None:
    digits = 0
    for character in values[0] if type(values[0]) is str else "":
        digits = digits + 1 if character.isdigit() else 0
        if digits > 3:
            raise BudgetExceeded("it formats with a precision of more than 999 digits")


def _bound_text(length: int) -> None:
    if length > operators.MAX_TEXT:
        raise BudgetExceeded(f"it builds a text of {length} characters, at most {operators.MAX_TEXT} are allowed")


_GUARDS: dict[str, Callable[[list[Any]], None]] = {
    "replace": _guard_replace,
    "join": _guard_join,
    "format": _guard_format,
}
