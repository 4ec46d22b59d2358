"""What a copy takes along: every table, the order of its rows, and what goes on counting at the new place."""

from __future__ import annotations

from typing import NamedTuple

WIDE = 250
NARROW = 2_000
"""Rows that are held in memory at a time; those of wide tables may have 100 KiB each, and more."""


class Table(NamedTuple):
    """`key` orders the rows, alike in both databases: ids and texts by their bytes. `counter` numbers new rows."""

    name: str
    key: tuple[str, ...]
    block: int = NARROW
    counter: str | None = None


_RUN = ("execution_id", "node", "ordinal", "label")
_COUNTED = ("workspace", "flow", "status", "trigger_kind")

TABLES = (
    Table("flows", ("number",), WIDE, counter="number"),
    Table("flow_versions", ("workspace", "flow", "number"), WIDE),
    Table("tokens", ("id",)),
    Table("workers", ("number",), counter="number"),
    Table("executions", ("id",), WIDE, counter="number"),
    Table("payloads", ("execution_id",), WIDE),
    Table("node_runs", _RUN, WIDE),
    Table("events", ("execution_id", "seq"), WIDE),
    Table("tags", ("workspace", "key", "value", "execution_id")),
    Table("artifacts", ("id",)),
    Table("blobs", ("execution_id", "sha256")),
    Table("waits", _RUN),
    Table("wait_approvers", (*_RUN, "approver")),
    Table("signals", ("n",), WIDE, counter="n"),
    Table("inbox", ("n",), WIDE, counter="n"),
    Table("queue", ("execution_id",)),
    Table("timers", ("execution_id", "kind")),
    Table("slots", ("execution_id",)),
    Table("rates", ("workspace", "rate_key")),
    Table("idempotency", ("workspace", "key")),
    Table("operations", ("id",), WIDE),
    Table("operation_items", ("operation_id", "n")),
    Table("counter_deltas", ("n",), counter="n"),
    Table("counters", (*_COUNTED, "hour")),
    Table("hours", ("workspace", "hour", "status", "trigger_kind")),
    Table("hour_totals", ("workspace", "hour")),
    Table("days", ("workspace", "flow", "status", "trigger_kind", "day")),
    Table("totals", _COUNTED),
    Table("durations", ("workspace", "grain", "flow", "period", "status", "trigger_kind", "bucket")),
    Table("duration_totals", ("workspace", "grain", "flow", "period"), WIDE),
    Table("measures", ("name",)),
    Table("feed", ("writer", "n"), WIDE),
)

NOT_COPIED = {
    "schema_migrations": "the new place has its own",
    "writers": "made from where the feed of each ended",
    "blob_contents": "contents travel on their own: one place keeps them in files, another in tables",
    "blob_chunks": "contents travel on their own",
    "search_state": "the index of texts is made anew",
    "search_holder": "the index of texts is made anew",
    "search_tail": "the index of texts is made anew",
    "search_segments": "the index of texts is made anew",
    "search_parts": "the index of texts is made anew",
}
"""Tables that are left out, and why."""

TRACES = frozenset({"workers", "rates", "measures", "feed"})
"""What a server leaves that was only started and stopped: a store with nothing else is empty."""
