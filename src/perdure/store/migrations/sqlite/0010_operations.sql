-- Operations: one action on many executions. request: what was asked for, as it is told; plan: how it is carried out. It is
-- collected up to the id "until", and belongs to its holder until free_at.
CREATE TABLE operations (
    id BLOB PRIMARY KEY,
    workspace TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('cancel', 'retry', 'replay', 'tag', 'delete')),
    status TEXT NOT NULL CHECK (status IN ('collecting', 'running', 'completed', 'cancelled', 'failed')),
    request TEXT NOT NULL,
    plan TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    idempotency_key TEXT,
    request_hash BLOB,
    until BLOB NOT NULL,
    collected_to BLOB,
    total INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    error TEXT,
    holder TEXT,
    free_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX operations_by_workspace ON operations (workspace, id);
CREATE UNIQUE INDEX operations_by_key ON operations (workspace, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX operations_open ON operations (free_at, id) WHERE status IN ('collecting', 'running');
CREATE INDEX operations_by_end ON operations (finished_at) WHERE finished_at IS NOT NULL;

-- One row for each execution that an operation concerns.
CREATE TABLE operation_items (
    operation_id BLOB NOT NULL,
    n INTEGER NOT NULL,
    execution_id BLOB NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('waiting', 'asked', 'succeeded', 'refused')),
    code TEXT,
    detail TEXT,
    result_id BLOB,
    at INTEGER,
    PRIMARY KEY (operation_id, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX operation_items_by_outcome ON operation_items (operation_id, outcome, n);
