"""From a rendered `approval`, `ask` or `signal` node to the terms of its wait, as they stand in its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from perdure.base.codec import INLINE_LIMIT, Json, decode
from perdure.errors import InvalidAnswer
from perdure.flows.form import check_answer, check_form, expand_form
from perdure.model.answer import APPROVAL, ASK, SIGNAL, OnExpiry, Terms, as_data
from perdure.nodes.approval import parse_approval
from perdure.nodes.ask import parse_ask
from perdure.nodes.signal import parse_signal

_PARSERS: Mapping[str, Callable[..., Terms]] = {APPROVAL: parse_approval, ASK: parse_ask, SIGNAL: parse_signal}


class Mask(Protocol):
    def input(self, shown: Json) -> bytes: ...


def is_outside(node_type: str) -> bool:
    """Whether runs of this type wait for somebody from outside."""
    return node_type in _PARSERS


def terms_data(node_type: str, config: Json, *, attempt: int, masker: Mask) -> dict[str, Any]:
    """What is to stand beside the wait, without secrets. Raises ValueError, saying what would be right."""
    terms = _PARSERS[node_type](config, attempt=attempt)
    if terms.form is not None:
        terms = _with_form(terms, terms.form)
    data = masker.input(as_data(terms))
    if len(data) > INLINE_LIMIT:
        raise ValueError(f"what is asked has {len(data)} bytes as JSON, the limit is {INLINE_LIMIT}")
    found: dict[str, Any] = decode(data)
    return found


def _with_form(terms: Terms, form: dict[str, Any]) -> Terms:
    faults = check_form(form)
    if faults:
        raise ValueError(f"the form is no JSON Schema: {faults[0].detail}")
    schema = expand_form(form)
    value = terms.value
    if terms.on_expiry is OnExpiry.VALUE:
        try:
            value = check_answer(schema, value)
        except InvalidAnswer as error:
            raise ValueError(f"on_expiry: {error.message}") from None
    return msgspec.structs.replace(terms, form=schema, value=value)
