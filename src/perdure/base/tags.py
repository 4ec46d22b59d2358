"""What tags of executions may be, for flows, starts and the wire alike."""

from __future__ import annotations

MAX_TAGS = 32
"""Tags of one execution, its flow's among them."""
MAX_TAG_KEY = 63
"""Characters of a key; at least one."""
MAX_TAG_VALUE = 255
"""Characters of a value."""
TAG_KEY = r"^[^\x00-\x1f\x7f:]+$"
"""No control character, and no colon: filters write `key:value`."""
TAG_VALUE = r"^[^\x00-\x1f\x7f]*$"
