"""What a database did over a stretch of time, as the database itself counts it."""

from __future__ import annotations

import msgspec


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of all sessions of one database; `wal_bytes` is the whole server's log."""

    transactions: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    wal_bytes: int
    statements: int | None = None
    """Where the server has the extension pg_stat_statements."""

    @property
    def rows(self) -> int:
        return self.rows_inserted + self.rows_updated + self.rows_deleted

    def since(self, before: Activity) -> Activity:
        counted = self.statements is not None and before.statements is not None
        return Activity(
            transactions=self.transactions - before.transactions,
            rows_inserted=self.rows_inserted - before.rows_inserted,
            rows_updated=self.rows_updated - before.rows_updated,
            rows_deleted=self.rows_deleted - before.rows_deleted,
            wal_bytes=self.wal_bytes - before.wal_bytes,
            statements=(self.statements or 0) - (before.statements or 0) if counted else None,
        )
