"""Bearer tokens: 256 random bits, shown once, kept as their SHA-256.

A token carries all its entropy by itself, so a fast hash is enough: there is nothing to guess from.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

PREFIX = "perdure_"
"""Lets secret scanners and people recognise one."""
_SHAPE = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    """`perdure_` and 43 characters of base64url."""
    return PREFIX + secrets.token_urlsafe(32)


def looks_like_token(text: str) -> bool:
    return _SHAPE.fullmatch(text) is not None


def secret_hash(secret: str) -> bytes:
    """What the store keeps of a secret: 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


def same_hash(one: bytes, other: bytes) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)
