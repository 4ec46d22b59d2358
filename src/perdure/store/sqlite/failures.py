"""SQLite's errors in the words of our own tree."""

from __future__ import annotations

from pathlib import Path

import apsw

from perdure.errors import RowRefused, StoreBusy, StoreDamaged, StoreError, StoreFull, StoreUnavailable

REFUSALS = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    apsw.RangeError,
    apsw.BindingsError,
    TypeError,
    ValueError,
    OverflowError,
)
"""What one row brings about: a constraint, a value that does not fit (lone surrogates, 65 bits, …)."""

_DAMAGE = frozenset({apsw.SQLITE_IOERR_DATA, apsw.SQLITE_IOERR_CORRUPTFS})
_OUR_FAULT = (apsw.SQLError, apsw.MisuseError, apsw.ThreadingViolationError)

RESTORE = "stop perdure, keep the file for inspection, and restore the newest backup in its place"


def translated(error: Exception, path: Path) -> StoreError | None:
    """The error of our tree, or None when it is none of the database's."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, apsw.FullError):
        return StoreFull(f"no space is left for {path}; free some, and work goes on by itself", path=str(path))
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreBusy(f"another process holds the lock of {path}; perdure wants it for itself", path=str(path))
    if isinstance(error, apsw.InterruptError):
        told = f"what was asked of {path} took too long and was told to give up; ask for less, such as a shorter range of times"
        return StoreBusy(told, path=str(path))
    if isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _DAMAGE:
        return damaged(path, "a page does not match its checksum")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.FormatError):
        return damaged(path, str(error))
    if isinstance(error, REFUSALS):
        return RowRefused(f"the database refused a row: {error}")
    if isinstance(error, apsw.Error) and not isinstance(error, _OUR_FAULT):
        return StoreUnavailable(f"{path} cannot be used now: {error}", path=str(path))
    return None


def damaged(path: Path, what: str) -> StoreDamaged:
    return StoreDamaged(f"{path} is damaged ({what}); {RESTORE}", path=str(path))
