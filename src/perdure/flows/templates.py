"""Values with `${…}` in their texts: scanned once, rendered often, never rendered again.

A text that is one lone `${…}` takes the expression's value with its type. Within other text, texts
are inserted as they are, null as nothing, and everything else as JSON. `$${` stands for `${`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.base.codec import VALUE_LIMIT, Json, encode_text
from perdure.base.pointers import pointer_of
from perdure.flows.expressions import Expression, ExpressionInvalid, Fault, Language
from perdure.flows.operators import BudgetExceeded, EvaluationError

MAX_EXPRESSIONS_LENGTH = 250_000
"""Characters of all expressions of one flow."""

MAX_POINTERS_LENGTH = 25_000_000
"""Characters of the JSON pointers to them: a long key stands in the pointer of each expression below it."""

_Path = str | tuple["_Path", str | int]
"""Where a value stands: a JSON pointer, or a path and the step from there."""

_BIG = 64
"""Items from which copying by way of JSON text is the faster one."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a template: literal text, or an expression that begins at `offset`."""

    text: str
    is_expression: bool
    offset: int


class TemplateInvalid(Exception):
    """An expression that does not end; `offset` is where it begins."""

    def __init__(self, detail: str, offset: int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.offset = offset


class RenderFailed(Exception):
    """An expression had no value. `code` is expression_error or expression_budget."""

    def __init__(self, code: str, reason: str, expression: str, pointer: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.expression = expression
        self.pointer = pointer


def scan(text: str) -> list[Piece]:
    """Split a template into its pieces, in order; neighbouring literals are one.

    Raises:
        TemplateInvalid: an expression without its closing brace, or an empty one.
    """
    pieces: list[Piece] = []
    literal = ""
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at and text[start - 1] == "$":
            literal += text[at : start - 1] + "${"
            at = start + 2
            continue
        end = _end(text, start + 2)
        if not text[start + 2 : end].strip():
            raise TemplateInvalid("an empty expression: write ${…} around one, or $${ for the two characters", start)
        if literal or start > at:
            pieces.append(Piece(literal + text[at:start], False, 0))
        pieces.append(Piece(text[start + 2 : end], True, start + 2))
        literal, at = "", end + 1
    if literal or at < len(text):
        pieces.append(Piece(literal + text[at:], False, 0))
    return pieces


def _end(text: str, start: int) -> int:
    """Where the brace stands that closes the expression beginning at `start`."""
    depth = 0
    at = start
    while at < len(text):
        character = text[at]
        if character in "\"'":
            at = _after_quotes(text, at, start)
            continue
        if character == "{":
            depth += 1
        elif character == "}":
            if depth == 0:
                return at
            depth -= 1
        elif text.startswith("//", at):
            newline = text.find("\n", at)
            at = len(text) if newline < 0 else newline
            continue
        at += 1
    raise TemplateInvalid(
        "the expression that begins here has no closing brace; write $${ for the two characters", start - 2
    )


def _after_quotes(text: str, at: int, start: int) -> int:
    """Where a CEL text literal that begins at `at` is over."""
    quote = text[at : at + 3] if text.startswith(text[at] * 3, at) else text[at]
    is_raw = at > start and _is_raw(text, at, start)
    at += len(quote)
    while at < len(text):
        if text[at] == "\\" and not is_raw:
            at += 2
        elif text.startswith(quote, at):
            return at + len(quote)
        else:
            at += 1
    raise TemplateInvalid("a text in the expression that begins here has no closing quote", start - 2)


def _is_raw(text: str, at: int, start: int) -> bool:
    prefix = at
    while prefix > start and text[prefix - 1] in "rRbB":
        prefix -= 1
    is_word = prefix > start and (text[prefix - 1].isalnum() or text[prefix - 1] == "_")
    return not is_word and at - prefix <= 2 and any(letter in "rR" for letter in text[prefix:at])


Render = Callable[[Any], Json]


class WorkedSecret(msgspec.Struct, frozen=True):
    """An expression that makes something of secrets, rather than just naming one."""

    pointer: str
    text: str
    """Of the template that it stands in, from whose character `offset` on."""
    offset: int


class Reads(msgspec.Struct):
    """What the expressions of one template read."""

    nodes: set[str] = msgspec.field(default_factory=set)
    secrets: set[str] = msgspec.field(default_factory=set)
    worked_secrets: list[WorkedSecret] = msgspec.field(default_factory=list)


class Template:
    """A compiled value. `nodes` are those that it reads."""

    __slots__ = ("_render", "nodes", "secrets", "worked_secrets")

    def __init__(self, render: Render | None, value: Json, reads: Reads | None = None) -> None:
        self._render: Render = render if render is not None else lambda scope: value
        reads = reads or Reads()
        self.nodes = frozenset(reads.nodes)
        self.secrets = frozenset(reads.secrets)
        """Those that it names just so, as `${secrets.<name>}`."""
        self.worked_secrets = tuple(reads.worked_secrets)

    def render(self, scope: Any) -> Json:
        """Its value; it may share containers with the scope. Raises RenderFailed."""
        return self._render(scope)


class InputRead(msgspec.Struct, frozen=True):
    """A member of the input that an expression reads, and where the expression stands."""

    path: tuple[str, ...]
    pointer: str
    text: str
    """Of the template that it stands in, from whose character `offset` on."""
    offset: int


class Builder:
    """Compiles the templates of one flow; every fault is handed to `report(pointer, text, fault)`.

    `input_reads` are those of all that was compiled.
    """

    def __init__(self, report: Callable[[str, str, Fault], None]) -> None:
        self._report = report
        self.input_reads: list[InputRead] = []
        self._room = MAX_EXPRESSIONS_LENGTH
        self._pointer_room = MAX_POINTERS_LENGTH

    def template(self, value: Json, language: Language, pointer: str) -> Template:
        reads = Reads()
        return Template(self._compile(value, language, pointer, reads), value, reads)

    def expression(
        self, text: str, language: Language, pointer: str, *, offset: int = 0, whole: str = ""
    ) -> Expression | None:
        """None when it was reported."""
        if self._pointer_room < 0:
            return None
        self._pointer_room -= len(pointer)
        if self._pointer_room < 0:
            detail = f"the flow's expressions stand below keys of more than {MAX_POINTERS_LENGTH} characters together"
            self._report(pointer, whole or text, Fault("limit_exceeded", detail))
            return None
        self._room -= len(text)
        if self._room < 0:
            detail = f"the flow's expressions have more than {MAX_EXPRESSIONS_LENGTH} characters together"
            self._report(pointer, whole or text, Fault("limit_exceeded", detail))
            return None
        try:
            expression = language.compile(text)
            self.input_reads += [InputRead(path, pointer, whole or text, offset) for path in sorted(expression.inputs)]
            return expression
        except ExpressionInvalid as error:
            for fault in error.faults:
                self._report(pointer, whole or text, Fault(fault.code, fault.detail, fault.offset + offset))
        return None

    def condition(self, text: str, language: Language, pointer: str) -> Template:
        """A bare expression; one within a lone `${…}` is taken as well."""
        body, offset = text, 0
        if text.strip().startswith("${"):
            try:
                pieces = scan(text.strip())
            except TemplateInvalid:
                pieces = []
            if len(pieces) == 1 and pieces[0].is_expression:
                body = pieces[0].text
                offset = text.index("${") + 2
        expression = self.expression(body, language, pointer, offset=offset, whole=text)
        if expression is None:
            return Template(None, None)
        return Template(_evaluator(expression, pointer), None, Reads(nodes=set(expression.nodes)))

    def _compile(self, value: Json, language: Language, path: _Path, reads: Reads) -> Render | None:
        """How to render it, or None when it is the same for every scope."""
        if isinstance(value, str):
            return self._text(value, language, _pointer(path), reads) if "${" in value else None
        if isinstance(value, dict):
            members = {key: self._compile(item, language, (path, key), reads) for key, item in value.items()}
            return _object(value, members) if any(members.values()) else None
        if isinstance(value, list):
            items = [self._compile(item, language, (path, number), reads) for number, item in enumerate(value)]
            return _array(value, items) if any(items) else None
        return None

    def _text(self, text: str, language: Language, pointer: str, reads: Reads) -> Render:
        try:
            pieces = scan(text)
        except TemplateInvalid as error:
            self._report(pointer, text, Fault("invalid_expression", error.detail, error.offset))
            return lambda scope: None
        parts: list[str | Render] = []
        is_whole = True
        for piece in pieces:
            if not piece.is_expression:
                parts.append(piece.text)
                continue
            expression = self.expression(piece.text, language, pointer, offset=piece.offset, whole=text)
            is_whole = is_whole and expression is not None
            if expression is not None:
                reads.nodes |= expression.nodes
                if expression.secrets is None:
                    reads.worked_secrets.append(WorkedSecret(pointer, text, piece.offset))
                else:
                    reads.secrets |= expression.secrets
                parts.append(_evaluator(expression, pointer))
        if not is_whole:
            return lambda scope: None
        if len(parts) == 1 and len(pieces) == 1 and not isinstance(parts[0], str):
            return parts[0]
        return _joined(parts, pointer, text)


def _pointer(path: _Path) -> str:
    steps = []
    while not isinstance(path, str):
        path, step = path
        steps.append(step)
    return path + pointer_of(reversed(steps))


def _evaluator(expression: Expression, pointer: str) -> Render:
    evaluate = expression.evaluate

    def render(scope: Any) -> Json:
        try:
            return evaluate(scope)
        except EvaluationError as error:
            raise RenderFailed("expression_error", str(error), expression.text, pointer) from None
        except BudgetExceeded as error:
            raise RenderFailed("expression_budget", str(error), expression.text, pointer) from None

    return render


def _joined(parts: list[str | Render], pointer: str, template: str) -> Render:
    def render(scope: Any) -> str:
        text = "".join(part if isinstance(part, str) else _inserted(part(scope)) for part in parts)
        if len(text) > VALUE_LIMIT:
            reason = f"it builds a text of {len(text)} characters, at most {VALUE_LIMIT} are allowed"
            raise RenderFailed("expression_budget", reason, template[:200], pointer)
        return text

    return render


def _inserted(value: Json) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else encode_text(value)


def _object(value: dict[str, Json], members: dict[str, Render | None]) -> Render:
    parts = [(key, value[key], render) for key, render in members.items()]

    def render(scope: Any) -> dict[str, Json]:
        return {key: static if member is None else member(scope) for key, static, member in parts}

    return render


def _array(value: list[Json], items: list[Render | None]) -> Render:
    parts = list(zip(value, items, strict=True))
    return lambda scope: [static if item is None else item(scope) for static, item in parts]


def fresh(value: Json) -> Json:
    """A copy that shares no container, for those who may change what they are given."""
    kind = type(value)
    if kind is dict:
        if len(value) > _BIG:
            return msgspec.json.decode(msgspec.json.encode(value))
        return {key: fresh(item) if type(item) in (dict, list) else item for key, item in value.items()}
    if kind is list:
        if len(value) > _BIG:
            return msgspec.json.decode(msgspec.json.encode(value))
        return [fresh(item) if type(item) in (dict, list) else item for item in value]
    return value
