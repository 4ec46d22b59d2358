"""Text → one JSON value and the places of its parts.

Flow definitions come as YAML or JSON, request bodies as JSON. Whatever is ambiguous or dangerous
is refused by name: see `MalformedDocument` and the problem codes below. YAML scalars are those of
the YAML 1.2 core schema (yaml.org/spec/1.2.2, chapter 10.3), not of YAML 1.1.
"""

from __future__ import annotations

from typing import Literal, NoReturn

import msgspec

from perdure.base.codec import VALUE_LIMIT, Json
from perdure.errors import LimitExceeded, MalformedDocument, Problem, UnsupportedMediaType
from perdure.flows.json_text import locate_json, parse_json
from perdure.flows.positions import Place, Places
from perdure.flows.yaml import parse_yaml

DOCUMENT_LIMIT = 1024 * 1024
"""Bytes that a flow's document may have."""

MediaType = Literal["application/yaml", "application/json"]
"""What files of flows are read as."""
YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})
JSON_TYPES = frozenset({"application/json", "text/json"})


class Document(msgspec.Struct):
    """A parsed text. `place` finds a JSON pointer in it, or what encloses it."""

    value: Json
    text: str
    media_type: str
    places: Places | None = None

    def located(self) -> Places:
        """The places of its parts; those of JSON are looked up when first asked for."""
        if self.places is None:
            self.places = locate_json(self.text)
        return self.places

    def place(self, pointer: str) -> Place:
        """Line and column (from 1) of the value at the pointer, or of the nearest value around it."""
        return self.located().find(pointer)


def parse_document(text: str | bytes, *, media_type: str, limit_bytes: int = DOCUMENT_LIMIT) -> Document:
    """Read one YAML or JSON document.

    Args:
        text: the document; bytes must be UTF-8, a byte order mark and CRLF are accepted.
        media_type: `application/yaml` or `application/json` (parameters are ignored).
        limit_bytes: the size from which it is refused.

    Raises:
        MalformedDocument: with one problem that names what is wrong, its line and column.
        LimitExceeded: when it is longer than `limit_bytes`.
        UnsupportedMediaType: for any other media type.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > limit_bytes:
        message = f"the document has {len(data)} bytes, at most {limit_bytes} are allowed"
        raise LimitExceeded(message, problems=(Problem("limit_exceeded", message),), limit=limit_bytes)
    kind = media_type.partition(";")[0].strip().lower()
    if kind in JSON_TYPES:
        value = parse_json(data, max_bytes=VALUE_LIMIT)
        return Document(value, data.decode("utf-8-sig"), kind)
    if kind in YAML_TYPES:
        source = _decoded(data)
        value, places = parse_yaml(source)
        return Document(value, source, kind, places)
    raise UnsupportedMediaType(f"{media_type!r} is no flow document; send application/yaml or application/json")


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse_bytes(data, error.start)


def _refuse_bytes(data: bytes, offset: int) -> NoReturn:
    line = data.count(b"\n", 0, offset) + 1
    column = len(data[data.rfind(b"\n", 0, offset) + 1 : offset].decode("utf-8", "replace")) + 1
    message = f"byte {offset} is not UTF-8"
    raise MalformedDocument(
        f"line {line}, column {column}: {message}",
        problems=(Problem("not_utf8", message, line=line, column=column),),
    )


def media_type_of(suffix: str) -> MediaType | None:
    """The media type of a file by its suffix (`.yaml`, `.yml`, `.json`), else None."""
    return _BY_SUFFIX.get(suffix.lower())


_BY_SUFFIX: dict[str, MediaType] = {
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".json": "application/json",
}
