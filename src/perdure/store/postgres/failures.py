"""PostgreSQL's errors, and asyncpg's, in the words of our own tree. No message carries credentials."""

from __future__ import annotations

from typing import Any, TypeGuard

import asyncpg

from perdure.errors import RowRefused, StoreBusy, StoreDamaged, StoreError, StoreFull, StoreUnavailable

COLLISIONS = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock timeout: another transaction was in the way."""
DOUBLES = frozenset({"23505", "23502"})
"""Somebody else put the same key meanwhile (see `keys_put`); decided anew, it is found."""

_DAMAGE = frozenset({"XX001", "XX002"})
_FULL = "53100"
_TOO_LONG = "57014"
_READ_ONLY = "25006"
_REFUSING_CLASSES = frozenset({"21", "22", "23", "54"})
"""Cardinality, data, integrity constraints, limits such as an index row's size."""
_OUR_FAULT_CLASSES = frozenset({"34", "42"})
_REASONS = {
    "0A000": "its tables were changed meanwhile",
    "26000": "it has forgotten a prepared statement (a pooling proxy? add prepare=false&listen=false to the URL)",
    "28000": "it refuses the login",
    "28P01": "it refuses the password",
    "3D000": "there is no such database",
    "42501": "the role lacks a privilege",
    "53300": "it has no connection left",
    _READ_ONLY: "it is read-only (a standby?)",
}


def translated(error: BaseException, place: str) -> StoreError | None:
    """The error of our tree, or None when it is none of the database's.

    `details["sqlstate"]` of the new error is the database's own code, where it gave one.
    """
    if isinstance(error, StoreError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _from_state(error, place)
    if isinstance(error, asyncpg.exceptions.DataError | TypeError | ValueError | OverflowError):
        return RowRefused(f"the database refused a row: {error}")
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError | EOFError):
        return unavailable(place, str(error) or type(error).__name__)
    return None


def sqlstate(error: BaseException) -> str:
    """Of an error that `translated` made; empty where the database gave none."""
    return str(error.details.get("sqlstate", "")) if isinstance(error, StoreError) else ""


def unavailable(place: str, why: str) -> StoreUnavailable:
    return StoreUnavailable(f"PostgreSQL at {place} cannot be used now: {why}", place=place)


def _from_state(error: asyncpg.PostgresError, place: str) -> StoreError | None:
    state = str(error.sqlstate)
    told = str(error)
    known: dict[str, Any] = {"place": place, "sqlstate": state}
    if state in COLLISIONS:
        return StoreBusy(f"another transaction was in the way at {place}: {told}", **known)
    if state == _TOO_LONG:
        return StoreBusy(f"PostgreSQL at {place} took too long and was told to give up: {told}", **known)
    if state == _FULL:
        return StoreFull(f"no space is left for PostgreSQL at {place}; free some, and work goes on by itself", **known)
    if state in _DAMAGE:
        return StoreDamaged(
            f"the database at {place} is damaged ({told}); stop perdure and restore the newest backup", **known
        )
    if state[:2] in _REFUSING_CLASSES:
        return RowRefused(f"the database refused a row: {told}", **known)
    if state in _REASONS:
        return StoreUnavailable(f"PostgreSQL at {place} cannot be used now: {_REASONS[state]} ({told})", **known)
    if state[:2] in _OUR_FAULT_CLASSES:
        return None
    return StoreUnavailable(f"PostgreSQL at {place} cannot be used now: {told}", **known)


def is_certain(error: BaseException) -> bool:
    """Whether the server itself said that the transaction failed, and lives on: then nothing of it is in."""
    return isinstance(error, asyncpg.PostgresError) and error.as_dict().get("severity_en") == "ERROR"


def is_loss(error: StoreError | None) -> TypeGuard[StoreUnavailable]:
    """Whether the connection is not to be used any more."""
    return isinstance(error, StoreUnavailable) and not isinstance(error, StoreBusy)
