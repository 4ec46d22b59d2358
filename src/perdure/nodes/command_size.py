"""How large a command with its environment may be (execve(2)): told once the kernel has refused it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from perdure.model.failure import Failure

STRING_LIMIT = 128 * 1024
"""Bytes of one argument, or of one variable with its name, and the byte that ends it (Linux, MAX_ARG_STRLEN)."""
_POINTER = 8


def too_large_failure(argv: Sequence[str], env: Mapping[str, str]) -> Failure:
    """`limit_exceeded`, naming what is too large, the limit, and what has none."""
    variables = {name: _size(f"{name}={value}") for name, value in env.items()}
    largest = max(variables, key=lambda name: variables[name])
    total = sum(variables.values()) + sum(map(_size, argv)) + _POINTER * (len(argv) + len(env))
    way_out = (
        "; give it under `with` instead, which the command reads as JSON from its standard input, without this limit"
    )
    if variables[largest] > STRING_LIMIT:
        what, size, limit = f"the variable {largest} under env", variables[largest], STRING_LIMIT
    elif max(map(_size, argv)) > STRING_LIMIT:
        what, size, limit = "the text of the command", max(map(_size, argv)), STRING_LIMIT
        way_out = "; put it into a script in the flow folder and call that"
    else:
        what, size, limit = "the command with its environment", total, os.sysconf("SC_ARG_MAX")
    return Failure(
        code="limit_exceeded",
        message=f"{what} takes {size:,} bytes, the system allows {limit:,}{way_out}",
        details={"size_bytes": size, "limit_bytes": limit},
        retryable=False,
        error_types=("limit_exceeded",),
    )


def _size(text: str) -> int:
    """With the NUL at its end."""
    return len(os.fsencode(text)) + 1
