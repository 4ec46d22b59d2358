"""Node type `fail`: ends the node as failed, on purpose."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from perdure.base.codec import encode_text
from perdure.model.failure import Failure
from perdure.nodes.interface import Call, NodeFailed

_DEFAULT_CODE = "failed_on_purpose"


class FailNode:
    name: ClassVar[str] = "fail"
    control: ClassVar[bool] = False
    config_schema: ClassVar[dict[str, Any]] = {
        "description": "Fails with this message, and is not retried. `code` is what `retry.on` and readers see.",
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "properties": {
                    "message": {"type": "string", "minLength": 1},
                    "code": {"type": "string", "pattern": r"^([a-z][a-z0-9_]{0,62}|\$\{.*\})$"},
                },
                "required": ["message"],
                "additionalProperties": False,
            },
        ],
    }
    examples: ClassVar[list[Any]] = [
        "there is nothing to report",
        {"message": "only ${input.count} rows", "code": "too_few_rows"},
    ]

    async def run(self, call: Call) -> NoReturn:
        is_written_out = isinstance(call.config, dict) and "message" in call.config
        config = call.config if is_written_out else {"message": call.config}
        code = str(config.get("code") or _DEFAULT_CODE)
        message = config["message"] if isinstance(config["message"], str) else encode_text(config["message"])
        raise NodeFailed(Failure(code=code, message=message, retryable=False, error_types=(code,)))
