"""CEL's operators on plain JSON values, each within a budget.

Semantics are those of the language definition (github.com/google/cel-spec, doc/langdef.md): 64-bit
integers that refuse to overflow, no mixing of int and double in arithmetic, comparison and equality
of numbers across types, booleans that are no numbers. `tests/flows/test_evaluation.py` compares
every one of them with Google's implementation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from perdure.base.codec import VALUE_LIMIT

COST_LIMIT = 2_000_000
"""Units that one evaluation may cost: one for each operation carried out, and one for every 64
characters or 8 items that it copies or compares. A unit takes about 0.1 µs."""
MAX_TEXT = VALUE_LIMIT
"""Characters of a text that an expression may build."""

_TOLD_KEYS = 8
_SORTED_KEYS = 100

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_NUMBERS = (int, float)


class EvaluationError(Exception):
    """The expression has no value for this data; `||`, `&&` and `?:` may absorb it."""


class BudgetExceeded(Exception):
    """The evaluation costs too much; nothing absorbs it."""


class Meter:
    """What is left of an evaluation's budget."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = COST_LIMIT

    def charge(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise BudgetExceeded(f"it takes more than {COST_LIMIT} steps; do this in a python node")


def type_name(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), "value")


_TYPE_NAMES: dict[type, str] = {
    type(None): "null", bool: "bool", int: "int", float: "double", str: "string", list: "list", dict: "map",
    bytes: "bytes", bytearray: "bytes", datetime: "timestamp", timedelta: "duration",
}  # fmt: skip


def no_overload(sign: str, left: Any, right: Any) -> EvaluationError:
    hint = ""
    if {type(left), type(right)} == {int, float}:
        hint = "; convert one with double(…) or int(…)"
    return EvaluationError(f"{type_name(left)} {sign} {type_name(right)} is not defined{hint}")


def _checked(value: int) -> int:
    if _INT_MIN <= value <= _INT_MAX:
        return value
    raise EvaluationError("integer overflow: beyond 64 bits")


def add(meter: Meter, left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return _checked(left + right)
        if kind is float:
            return left + right
        if kind is str:
            length = len(left) + len(right)
            if length > MAX_TEXT:
                raise BudgetExceeded(f"it builds a text of {length} characters, at most {MAX_TEXT} are allowed")
            meter.charge(length >> 6)
            return left + right
        if kind is list:
            meter.charge((len(left) + len(right)) >> 3)
            return left + right
        if kind is timedelta:
            return _time(lambda: left + right)
        if kind in (bytes, bytearray):
            meter.charge((len(left) + len(right)) >> 6)
            return left + right
    if {kind, type(right)} == {datetime, timedelta}:
        return _time(lambda: left + right)
    raise no_overload("+", left, right)


def subtract(meter: Meter, left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return _checked(left - right)
        if kind is float or kind is datetime:
            return left - right
        if kind is timedelta:
            return _time(lambda: left - right)
    if kind is datetime and type(right) is timedelta:
        return _time(lambda: left - right)
    raise no_overload("-", left, right)


def _time(calculate: Callable[[], Any]) -> Any:
    try:
        return calculate()
    except OverflowError:
        raise EvaluationError("the time is out of range") from None


def multiply(meter: Meter, left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return _checked(left * right)
        if kind is float:
            return left * right
    raise no_overload("*", left, right)


def divide(meter: Meter, left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            if right == 0:
                raise EvaluationError("division by zero")
            quotient = abs(left) // abs(right)
            return _checked(quotient if (left < 0) == (right < 0) else -quotient)
        if kind is float:
            return _divide_floats(left, right)
    raise no_overload("/", left, right)


def _divide_floats(left: float, right: float) -> float:
    if right != 0.0:
        return left / right
    if left == 0.0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def remainder(meter: Meter, left: Any, right: Any) -> Any:
    if type(left) is int and type(right) is int:
        if right == 0:
            raise EvaluationError("modulus by zero")
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    raise no_overload("%", left, right)


def negate(meter: Meter, value: Any) -> Any:
    if type(value) is int:
        return _checked(-value)
    if type(value) is float:
        return -value
    raise EvaluationError(f"-{type_name(value)} is not defined")


def equals(meter: Meter, left: Any, right: Any) -> bool:
    """Deep equality; values of different types are unequal, numbers are compared as numbers."""
    kind, other = type(left), type(right)
    if kind is not other:
        return kind in _NUMBERS and other in _NUMBERS and bool(left == right)
    if kind is list:
        meter.charge(len(left))
        return len(left) == len(right) and all(equals(meter, one, two) for one, two in zip(left, right, strict=True))
    if kind is dict:
        meter.charge(len(left))
        return len(left) == len(right) and all(
            key in right and equals(meter, value, right[key]) for key, value in left.items()
        )
    if kind is str:
        meter.charge(len(left) >> 6)
    return bool(left == right)


def differs(meter: Meter, left: Any, right: Any) -> bool:
    return not equals(meter, left, right)


def contains_element(meter: Meter, value: Any, container: Any) -> bool:
    if type(container) is dict:
        return type(value) is str and value in container
    if type(container) is list:
        meter.charge(len(container) >> 3)
        if type(value) not in (list, dict) and value not in container:
            return False
        # Python takes true for 1, so what it finds has to be looked at again.
        return type(value) is str or any(equals(meter, value, element) for element in container)
    raise no_overload("in", value, container)


def _ordered(sign: str, compare: Callable[[Any, Any], bool]) -> Callable[[Meter, Any, Any], bool]:
    def operator(meter: Meter, left: Any, right: Any) -> bool:
        kind, other = type(left), type(right)
        if kind is other:
            if kind in _COMPARABLE:
                if kind is str:
                    meter.charge(min(len(left), len(right)) >> 6)
                return compare(left, right)
        elif kind in _NUMBERS and other in _NUMBERS:
            return compare(left, right)
        raise no_overload(sign, left, right)

    return operator


_COMPARABLE = frozenset({int, float, str, bool, bytes, bytearray, datetime, timedelta})

BINARY: dict[str, Callable[[Meter, Any, Any], Any]] = {
    "_+_": add,
    "_-_": subtract,
    "_*_": multiply,
    "_/_": divide,
    "_%_": remainder,
    "_==_": equals,
    "_!=_": differs,
    "_<_": _ordered("<", lambda left, right: bool(left < right)),
    "_<=_": _ordered("<=", lambda left, right: bool(left <= right)),
    "_>_": _ordered(">", lambda left, right: bool(left > right)),
    "_>=_": _ordered(">=", lambda left, right: bool(left >= right)),
    "@in": contains_element,
}


def select(value: Any, field: str) -> Any:
    """`value.field`; a missing key is an error that names the keys there are."""
    if type(value) is dict:
        try:
            return value[field]
        except KeyError:
            raise EvaluationError(f"no such key: {field[:80]!r}{_known(value)}") from None
    raise EvaluationError(f"{type_name(value)} has no field {field[:80]!r}")


def has_field(value: Any, field: str) -> bool:
    if type(value) is dict:
        return field in value
    raise EvaluationError(f"{type_name(value)} has no field {field!r}")


def index(value: Any, key: Any) -> Any:
    """`value[key]`: an item of a list by its number from 0, a member of a map by its key."""
    if type(value) is dict:
        if type(key) is str:
            return select(value, key)
        if type(key) in (int, bool, float):
            raise EvaluationError(f"no such key: {key}; the keys of a map are text")
    elif type(value) is list:
        if type(key) is float and key.is_integer():
            key = int(key)
        if type(key) is int:
            if 0 <= key < len(value):
                return value[key]
            raise EvaluationError(f"index {key} is out of range: the list has {len(value)} items")
    raise EvaluationError(f"{type_name(value)}[{type_name(key)}] is not defined")


def size(meter: Meter, value: Any) -> int:
    if type(value) in (str, list, dict, bytes, bytearray):
        return len(value)
    raise EvaluationError(f"size({type_name(value)}) is not defined")


def _known(value: dict[str, Any]) -> str:
    if not value:
        return "; the map is empty"
    # A macro may ask a large map for thousands of keys that it has not: each is told in no time.
    names = sorted(value)[:_TOLD_KEYS] if len(value) <= _SORTED_KEYS else [*islice(value, _TOLD_KEYS)]
    more = ", …" if len(value) > len(names) else ""
    return f"; there are {', '.join(name[:40] for name in names)}{more}"
