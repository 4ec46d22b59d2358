"""Flows and their versions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from perdure.errors import Problem
from perdure.wire.scalars import FlowId, Text, Time


class Flow(Struct, kw_only=True):
    """`version` is the latest one's number; `source` names the folder that manages it, null when put by API."""

    id: FlowId
    namespace: str
    name: str
    number: int
    version: int
    description: str | None
    source: str | None
    created_at: Time
    updated_at: Time


class FlowList(Struct, kw_only=True):
    data: list[Flow]
    next: str | None


class FlowDetail(Flow, kw_only=True):
    """With the latest version's definition, normalised."""

    content_hash: str
    definition: dict[str, Any]
    input_schema: dict[str, Any]


class FlowVersion(Struct, kw_only=True):
    flow: FlowId
    number: int
    content_hash: str
    media_type: str
    created_at: Time


class FlowVersionList(Struct, kw_only=True):
    data: list[FlowVersion]
    next: str | None


class FlowVersionDetail(FlowVersion, kw_only=True):
    """`source_text` is the document as it was given."""

    definition: dict[str, Any]
    source_text: str


class Validation(Struct, kw_only=True):
    """The findings on a flow document: no `errors` when it is valid; `warnings` refuse nothing.

    Of a valid one, `flow` is its id, and `content_hash` that of the version that it would be; else they are null.
    """

    valid: bool
    errors: list[Problem]
    warnings: list[Problem]
    flow: FlowId | None
    content_hash: str | None


MOST_FLOWS = 1_000
"""Flows in one batch."""


class FlowDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """A flow's definition as text, in YAML or JSON."""

    text: Text
    media_type: Literal["application/yaml", "application/json"] = "application/yaml"


class FlowBatch(Struct, kw_only=True, forbid_unknown_fields=True):
    """What `POST /flows/batch` takes. With `dry_run` it says what would change, and changes nothing."""

    documents: Annotated[list[FlowDocument], Meta(min_length=1, max_length=MOST_FLOWS)]
    dry_run: bool = False


class FlowChange(Struct, kw_only=True):
    """What putting a definition changed. `version` is null where a dry run does not know it."""

    flow: FlowId
    version: int | None
    change: Literal["new", "changed", "unchanged"]
    warnings: list[Problem]


class FlowChangeList(Struct, kw_only=True):
    """In the order of the documents."""

    data: list[FlowChange]


class BrokenFile(Struct, kw_only=True):
    """A flow file that could not be loaded, and everything that is wrong with it."""

    path: str
    errors: list[Problem]


class Source(Struct, kw_only=True):
    """A folder of flows and what is broken in it."""

    name: str
    path: str
    flows: int
    """How many it brought."""
    broken: list[BrokenFile]
