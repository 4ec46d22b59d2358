"""The scalar types of the wire, each with the schema that the OpenAPI document shows.

A `title` that names an enum (`ExecutionStatus`, `NodeStatus`, `EventType`, …) is given its values by
the API's OpenAPI document; on the wire it is text, so that an older client reads a newer server.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from perdure.base.tags import MAX_TAG_KEY, MAX_TAG_VALUE, TAG_KEY, TAG_VALUE
from perdure.base.texts import END, NO_NUL

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-22T13:45:00.000000Z"])]
"""RFC 3339 in UTC with six digits of fraction."""
Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"}, examples=["01936b1e-5f3a-7c2d-9b1a-0c6a8f3e2d71"])]
"""UUIDv7 in its canonical form."""
FlowId = Annotated[str, Meta(examples=["reports/digest"])]
"""`namespace/name`"""
Json = Any

ExecutionKind = Annotated[str, Meta(title="ExecutionKind")]
ExecutionStatus = Annotated[str, Meta(title="ExecutionStatus")]
NodeStatus = Annotated[str, Meta(title="NodeStatus")]
PendingReason = Annotated[str, Meta(title="PendingReason")]
EventType = Annotated[str, Meta(title="EventType")]
RunIf = Annotated[str, Meta(title="RunIf")]
Role = Annotated[str, Meta(title="Role")]

Priority = Annotated[int, Meta(ge=0, le=9)]
"""Higher goes first."""
VersionNumber = Annotated[int, Meta(ge=1, le=2**31 - 1)]
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+" + END)]
TagKey = Annotated[str, Meta(min_length=1, max_length=MAX_TAG_KEY, pattern=TAG_KEY.removesuffix("$") + END)]
TagValue = Annotated[str, Meta(max_length=MAX_TAG_VALUE, pattern=TAG_VALUE.removesuffix("$") + END)]
QueueName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}" + END)]
Namespace = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}" + END)]
Text = Annotated[str, Meta(pattern=NO_NUL)]
"""What people write, line breaks and all; no database's text column takes NUL everywhere."""
FlowAddress = Annotated[str, Meta(min_length=1, max_length=127, pattern=NO_NUL, examples=["reports/digest", "hello"])]
"""`namespace/name`, or a bare name in the namespace `default`."""
Duration = Annotated[str, Meta(max_length=64, pattern=NO_NUL, examples=["30s", "10m", "1h30m"])]
"""`500ms`, `30s`, `10m`, `1h30m`; a number is seconds."""
