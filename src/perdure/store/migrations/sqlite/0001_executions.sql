-- Executions and all that belongs to one: identified by UUIDv7, times in microseconds, JSON as text.

CREATE TABLE executions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    workspace TEXT NOT NULL,
    namespace TEXT NOT NULL,
    flow TEXT NOT NULL,
    flow_version INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (
        status IN (
            'pending', 'queued', 'running', 'suspended', 'interrupted', 'cancelling',
            'completed', 'failed', 'cancelled', 'timed_out', 'abandoned'
        )
    ),
    reason TEXT,
    priority INTEGER NOT NULL,
    queue TEXT NOT NULL,
    tags TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    trigger_id TEXT,
    trigger_context TEXT,
    parent BLOB,
    parent_node TEXT,
    parent_ordinal INTEGER,
    parent_attempt INTEGER,
    root BLOB NOT NULL,
    depth INTEGER NOT NULL,
    replay_of BLOB,
    idempotency_key TEXT,
    concurrency_key TEXT,
    -- What a pending start still has to ask for, {limit, rate}; NULL once it is queued.
    start_claims TEXT,
    max_recoveries INTEGER NOT NULL,
    recoveries INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    epoch INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    has_cleanup INTEGER NOT NULL CHECK (has_cleanup IN (0, 1)),
    created_at INTEGER NOT NULL,
    start_at INTEGER,
    queued_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    updated_at INTEGER NOT NULL,
    deadline_at INTEGER,
    -- Nobody owns what has ended, and whatever runs has an owner.
    CHECK (
        CASE
            WHEN status = 'running' THEN worker IS NOT NULL
            WHEN status = 'cancelling' THEN TRUE
            ELSE worker IS NULL
        END
    ),
    CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled', 'timed_out', 'abandoned')))
) STRICT;

CREATE INDEX executions_by_workspace ON executions (workspace, id);
CREATE INDEX executions_by_status ON executions (workspace, status, id);
CREATE INDEX executions_by_flow ON executions (workspace, flow, status, id);
CREATE INDEX executions_by_namespace ON executions (workspace, namespace, id);
CREATE INDEX executions_by_trigger ON executions (workspace, trigger_kind, id);
CREATE UNIQUE INDEX executions_by_parent ON executions (parent, parent_node, parent_ordinal, parent_attempt)
WHERE parent IS NOT NULL;
CREATE INDEX children_by_parent ON executions (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX executions_by_root ON executions (root, id) WHERE depth > 0;
CREATE INDEX executions_by_replay_of ON executions (replay_of, id) WHERE replay_of IS NOT NULL;
CREATE INDEX executions_by_worker ON executions (worker) WHERE worker IS NOT NULL;

-- A value is text when it is inline, else the sha-256 of its blob; its size is in bytes.
CREATE TABLE payloads (
    execution_id BLOB PRIMARY KEY,
    input TEXT,
    input_blob BLOB,
    input_size INTEGER NOT NULL,
    output TEXT,
    output_blob BLOB,
    output_size INTEGER,
    error TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE node_runs (
    execution_id BLOB NOT NULL,
    node TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    label TEXT NOT NULL,
    type TEXT NOT NULL,
    status TEXT NOT NULL CHECK (
        status IN (
            'running', 'suspended', 'retrying',
            'completed', 'failed', 'skipped', 'cancelled', 'timed_out', 'orphaned'
        )
    ),
    attempt INTEGER NOT NULL,
    input TEXT,
    input_blob BLOB,
    input_size INTEGER,
    output TEXT,
    output_blob BLOB,
    output_size INTEGER,
    error TEXT,
    started_at INTEGER,
    finished_at INTEGER,
    retry_at INTEGER,
    wake_at INTEGER,
    worker TEXT,
    reused_from BLOB,
    interruptions INTEGER NOT NULL,
    PRIMARY KEY (execution_id, node, ordinal, label)
) STRICT, WITHOUT ROWID;

-- One row per execution and commit: a JSON array of events numbered seq … last_seq.
-- kinds: 1 it holds logs, 2 it holds others, 3 both.
CREATE TABLE events (
    execution_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kinds INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (execution_id, seq)
) STRICT, WITHOUT ROWID;

-- One row per commit that brought events: [[execution id in hex, first seq, last seq, workspace], …].
-- A writer commits one after the other, so its n has no gaps and never appears out of order.
CREATE TABLE feed (
    writer INTEGER NOT NULL,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    entries TEXT NOT NULL,
    PRIMARY KEY (writer, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE waits (
    execution_id BLOB NOT NULL,
    node TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    label TEXT NOT NULL,
    kind TEXT NOT NULL,
    due_at INTEGER,
    child BLOB,
    data TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (execution_id, node, ordinal, label)
) STRICT, WITHOUT ROWID;

CREATE TABLE inbox (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE INDEX inbox_by_execution ON inbox (execution_id, n);

-- What can be claimed now; the lowest rank is first.
CREATE TABLE queue (
    execution_id BLOB PRIMARY KEY,
    workspace TEXT NOT NULL,
    queue TEXT NOT NULL,
    rank INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX queue_by_rank ON queue (queue, rank, execution_id);

CREATE TABLE timers (
    execution_id BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('start', 'wake', 'deadline')),
    due_at INTEGER NOT NULL,
    PRIMARY KEY (execution_id, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX timers_by_due ON timers (due_at, execution_id, kind);

-- A concurrency limit's holders (held = 1) and those who wait for it (held = 0).
-- leaving: it was told to go because a newer start wants its slot.
CREATE TABLE slots (
    execution_id BLOB PRIMARY KEY,
    workspace TEXT NOT NULL,
    limit_key TEXT NOT NULL,
    max_held INTEGER NOT NULL,
    held INTEGER NOT NULL CHECK (held IN (0, 1)),
    rank INTEGER NOT NULL,
    leaving INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX slots_by_key ON slots (workspace, limit_key, held, rank, execution_id);

-- The theoretical arrival time of the next start under a rate (GCRA, ITU-T I.371).
CREATE TABLE rates (
    workspace TEXT NOT NULL,
    rate_key TEXT NOT NULL,
    tat INTEGER NOT NULL,
    PRIMARY KEY (workspace, rate_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    workspace TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash BLOB,
    execution_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE tags (
    workspace TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    execution_id BLOB NOT NULL,
    PRIMARY KEY (workspace, key, value, execution_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX tags_by_key ON tags (workspace, key, execution_id);

-- Executions by hour of creation, by day, and in all: commits append deltas, a loop folds them into the three.
CREATE TABLE counter_deltas (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace TEXT NOT NULL,
    flow TEXT NOT NULL,
    status TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    hour INTEGER NOT NULL,
    delta INTEGER NOT NULL
) STRICT;

CREATE TABLE counters (
    workspace TEXT NOT NULL,
    flow TEXT NOT NULL,
    status TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    hour INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (workspace, flow, status, trigger_kind, hour)
) STRICT, WITHOUT ROWID;

CREATE INDEX counters_by_hour ON counters (workspace, hour);

CREATE TABLE hours (
    workspace TEXT NOT NULL,
    status TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    hour INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (workspace, hour, status, trigger_kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE days (
    workspace TEXT NOT NULL,
    flow TEXT NOT NULL,
    status TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    day INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (workspace, flow, status, trigger_kind, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE totals (
    workspace TEXT NOT NULL,
    flow TEXT NOT NULL,
    status TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (workspace, flow, status, trigger_kind)
) STRICT, WITHOUT ROWID;

-- Small facts of the store as a whole.
-- id_skew_us: how far an execution's created_at was ever from the time in its id.
CREATE TABLE measures (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
