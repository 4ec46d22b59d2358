"""A checked CEL expression as a tree, read from (and written back to) CEL's own wire format.

Google's CEL parses and checks an expression and serialises the result as a `cel.expr.CheckedExpr`
message (github.com/google/cel-spec, proto/cel/expr/{checked,syntax}.proto; protobuf's encoding:
protobuf.dev/programming-guides/encoding). From the tree we know which names an expression reads,
and evaluate it on plain JSON values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

TYPE_URL = b"type.googleapis.com/cel.expr.CheckedExpr"

_UINT64 = 3
_LIST, _MAP = 6, 7
_JSON_TYPES = frozenset({1, 2, 3, 4})
_TIMES = frozenset({2, 3})


class Expr(msgspec.Struct):
    """A vertex. `is_plain` tells that its static type is JSON's, bytes or a time: a value that Python holds."""

    id: int
    is_plain: bool


class Const(Expr):
    value: Any
    raw: bytes


class Ident(Expr):
    name: str


class Select(Expr):
    operand: Expr
    field: str
    is_test: bool


class Call(Expr):
    function: str
    target: Expr | None
    args: list[Expr]


class ListOf(Expr):
    elements: list[Expr]


class MapOf(Expr):
    """`entries`: key, value, and what else the entry holds on the wire."""

    entries: list[tuple[Expr, Expr, bytes]]


class Comprehension(Expr):
    iter_var: str
    iter_range: Expr
    accu_var: str
    accu_init: Expr
    loop_condition: Expr
    loop_step: Expr
    result: Expr


class Opaque(Expr):
    """What Python does not evaluate: messages, two-variable comprehensions, optional list elements."""

    raw: bytes


class Tree(msgspec.Struct):
    root: Expr
    raw_fields: list[tuple[int, bytes]]
    """The message's other fields (references, types, source), as they came."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: an int for varints, bytes for all else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 1:
            length = 8
        elif kind == 5:
            length = 4
        else:
            length, at = _varint(data, at)
        yield tag >> 3, data[at : at + length]
        at += length


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def decode_tree(serialized: bytes) -> Tree:
    """The tree of `Expression.serialize()`."""
    message = next(value for number, value in _fields(serialized) if number == 2)
    root = b""
    rest: list[tuple[int, bytes]] = []
    plain: dict[int, bool] = {}
    for number, value in _fields(message):
        if number == 4:
            root = value
            continue
        rest.append((number, value))
        if number == 3:
            entry = dict(_fields(value))
            plain[entry.get(1, 0)] = _is_plain(entry.get(2, b""))
    return Tree(_expr(root, plain), rest)


def _is_plain(type_message: bytes) -> bool:
    for number, value in _fields(type_message):
        if number in (3, 4):
            return bool(value != _UINT64)
        if number == 5:
            return value in _TIMES
        if number in (_LIST, _MAP):
            return all(_is_plain(part) for _, part in _fields(value))
        return number in _JSON_TYPES
    return True


def _expr(data: bytes, plain: dict[int, bool]) -> Expr:
    identity, number, body = 0, 0, b""
    for field, value in _fields(data):
        if field == 2:
            identity = value
        else:
            number, body = field, value
    # Literals carry no entry in the type map where their type is evident.
    is_plain = plain.get(identity, True)
    reader = _READERS.get(number)
    if reader is None:
        return Opaque(identity, False, data)
    return reader(identity, is_plain, body, plain) or Opaque(identity, is_plain, data)


def _const(identity: int, is_plain: bool, body: bytes, plain: dict[int, bool]) -> Expr | None:
    for number, value in _fields(body):
        if number == 1:
            return Const(identity, is_plain, None, body)
        if number == 2:
            return Const(identity, is_plain, bool(value), body)
        if number == 3:
            return Const(identity, is_plain, _signed(value), body)
        if number == 5:
            return Const(identity, is_plain, struct.unpack("<d", value)[0], body)
        if number == 6:
            return Const(identity, is_plain, value.decode(), body)
        if number == 7:
            return Const(identity, is_plain, bytes(value), body)
    return None


def _ident(identity: int, is_plain: bool, body: bytes, plain: dict[int, bool]) -> Expr:
    return Ident(identity, is_plain, dict(_fields(body))[1].decode())


def _select(identity: int, is_plain: bool, body: bytes, plain: dict[int, bool]) -> Expr:
    fields = dict(_fields(body))
    return Select(identity, is_plain, _expr(fields[1], plain), fields[2].decode(), bool(fields.get(3, 0)))


def _call(identity: int, is_plain: bool, body: bytes, plain: dict[int, bool]) -> Expr:
    target, function, args = None, "", []
    for number, value in _fields(body):
        if number == 1:
            target = _expr(value, plain)
        elif number == 2:
            function = value.decode()
        else:
            args.append(_expr(value, plain))
    return Call(identity, is_plain, function, target, args)


def _list(identity: int, is_plain: bool, body: bytes, plain: dict[int, bool]) -> Expr | None:
    elements = []
    for number, value in _fields(body):
        if number != 1:
            return None
        elements.append(_expr(value, plain))
    return ListOf(identity, is_plain, elements)


def _map(identity: int, is_plain: bool, body: bytes, plain: dict[int, bool]) -> Expr | None:
    entries = []
    for number, value in _fields(body):
        if number != 2:
            return None
        fields = dict(_fields(value))
        if 3 not in fields or fields.get(5):
            return None
        entries.append((_expr(fields[3], plain), _expr(fields[4], plain), _tagged(1, fields.get(1, 0))))
    return MapOf(identity, is_plain, entries)


def _comprehension(identity: int, is_plain: bool, body: bytes, plain: dict[int, bool]) -> Expr | None:
    fields = dict(_fields(body))
    if 8 in fields:
        return None
    parts = {number: _expr(fields[number], plain) for number in (2, 4, 5, 6, 7)}
    names = fields[1].decode(), fields[3].decode()
    return Comprehension(identity, is_plain, names[0], parts[2], names[1], parts[4], parts[5], parts[6], parts[7])


_READERS: dict[int, Any] = {
    3: _const, 4: _ident, 5: _select, 6: _call, 7: _list, 8: _map, 9: _comprehension,
}  # fmt: skip


def children(expr: Expr) -> list[Expr]:
    match expr:
        case Select():
            return [expr.operand]
        case Call():
            return [*([expr.target] if expr.target is not None else []), *expr.args]
        case ListOf():
            return expr.elements
        case MapOf():
            return [part for key, value, _ in expr.entries for part in (key, value)]
        case Comprehension():
            return [expr.iter_range, expr.accu_init, expr.loop_condition, expr.loop_step, expr.result]
    return []


def walk(expr: Expr) -> Iterator[Expr]:
    yield expr
    for child in children(expr):
        yield from walk(child)


def idents(expr: Expr) -> set[str]:
    """Names that the expression reads, those bound inside of it included."""
    names = {part.name for part in walk(expr) if isinstance(part, Ident)}
    for part in walk(expr):
        if isinstance(part, Opaque):
            names |= _raw_idents(part.raw)
    return names


def member_paths(expr: Expr, name: str) -> Iterator[tuple[str, ...]]:
    """What is selected of the variable: `name.a.b` and `name["a"].b` are (a, b). What `has` asks for is left out."""
    path = _member_path(expr, name)
    if path:
        yield path
        return
    is_bound = isinstance(expr, Comprehension) and name in (expr.iter_var, expr.accu_var)
    for child in [expr.iter_range] if isinstance(expr, Comprehension) and is_bound else children(expr):
        yield from member_paths(child, name)


def _member_path(expr: Expr, name: str) -> tuple[str, ...]:
    path: list[str] = []
    while True:
        match expr:
            case Select(is_test=False):
                path.append(expr.field)
                expr = expr.operand
            case Call(function="_[_]", args=[operand, Const(value=str(key))]):
                path.append(key)
                expr = operand
            case _:
                return tuple(reversed(path)) if isinstance(expr, Ident) and expr.name == name else ()


def _raw_idents(data: bytes) -> set[str]:
    """Names in an expression that was left as it is; reads every message in it that could be one."""
    names = set()
    for number, value in _fields(data):
        if number == 4:
            names.add(dict(_fields(value))[1].decode())
        elif number in (5, 6, 7, 8, 9):
            names |= _names_within(value, number)
    return names


_INNER = {5: (1,), 6: (1, 3), 7: (1,), 9: (2, 4, 5, 6, 7)}


def _names_within(body: bytes, kind: int) -> set[str]:
    names = set()
    for number, value in _fields(body):
        if kind == 8:
            if number == 2:
                for part, inner in _fields(value):
                    if part in (3, 4):
                        names |= _raw_idents(inner)
        elif number in _INNER[kind]:
            names |= _raw_idents(value)
    return names


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tagged(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _encode_varint(number << 3) + _encode_varint(value)
    return _encode_varint(number << 3 | 2) + _encode_varint(len(value)) + value


def encode_part(tree: Tree, part: Expr, replaced: dict[int, str]) -> bytes:
    """A program of its own for one part of a tree, in the form that `Env.deserialize` takes.

    Args:
        replaced: expression id → variable name, for the parts to be given as values.
    """
    message = _tagged(4, _encode(part, replaced))
    for number, value in tree.raw_fields:
        # References of what is now a variable would name a function or another variable.
        if not (number == 2 and dict(_fields(value)).get(1) in replaced):
            message += _tagged(number, value)
    for identity, name in replaced.items():
        message += _tagged(2, _tagged(1, identity) + _tagged(2, _tagged(1, name.encode())))
    return _tagged(1, TYPE_URL) + _tagged(2, message)


def _encode(expr: Expr, replaced: dict[int, str]) -> bytes:
    if expr.id in replaced:
        return _tagged(2, expr.id) + _tagged(4, _tagged(1, replaced[expr.id].encode()))
    head = _tagged(2, expr.id)
    match expr:
        case Opaque():
            return expr.raw
        case Const():
            return head + _tagged(3, expr.raw)
        case Ident():
            return head + _tagged(4, _tagged(1, expr.name.encode()))
        case Select():
            body = _tagged(1, _encode(expr.operand, replaced)) + _tagged(2, expr.field.encode())
            return head + _tagged(5, body + (_tagged(3, 1) if expr.is_test else b""))
        case Call():
            body = _tagged(1, _encode(expr.target, replaced)) if expr.target is not None else b""
            body += _tagged(2, expr.function.encode())
            return head + _tagged(6, body + b"".join(_tagged(3, _encode(arg, replaced)) for arg in expr.args))
        case ListOf():
            return head + _tagged(7, b"".join(_tagged(1, _encode(part, replaced)) for part in expr.elements))
        case MapOf():
            body = b"".join(
                _tagged(2, rest + _tagged(3, _encode(key, replaced)) + _tagged(4, _encode(value, replaced)))
                for key, value, rest in expr.entries
            )
            return head + _tagged(8, body)
        case Comprehension():
            return head + _tagged(9, _encode_comprehension(expr, replaced))
    raise AssertionError(expr)


def _encode_comprehension(expr: Comprehension, replaced: dict[int, str]) -> bytes:
    parts = zip(
        (2, 4, 5, 6, 7),
        (expr.iter_range, expr.accu_init, expr.loop_condition, expr.loop_step, expr.result),
        strict=True,
    )
    body = _tagged(1, expr.iter_var.encode()) + _tagged(3, expr.accu_var.encode())
    return body + b"".join(_tagged(number, _encode(part, replaced)) for number, part in parts)
