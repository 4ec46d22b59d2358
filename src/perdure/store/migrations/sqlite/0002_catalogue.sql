-- What executions are made from and leave behind: flows and their versions, workers, tokens, artifacts, blobs.

CREATE TABLE flows (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    latest INTEGER NOT NULL,
    description TEXT,
    source TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    UNIQUE (workspace, id)
) STRICT;

CREATE TABLE flow_versions (
    workspace TEXT NOT NULL,
    flow TEXT NOT NULL,
    number INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    document TEXT NOT NULL,
    source_text TEXT NOT NULL,
    media_type TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (workspace, flow, number),
    UNIQUE (workspace, flow, content_hash)
) STRICT;

CREATE TABLE workers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    stopped_at INTEGER
) STRICT;

CREATE INDEX workers_alive ON workers (heartbeat_at) WHERE stopped_at IS NULL;

CREATE TABLE tokens (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    workspace TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    id BLOB PRIMARY KEY,
    workspace TEXT NOT NULL,
    execution_id BLOB NOT NULL,
    node TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX artifacts_by_workspace ON artifacts (workspace, id);
CREATE INDEX artifacts_by_execution ON artifacts (workspace, execution_id, id);

-- Values too large for their row, shared by content.
CREATE TABLE blobs (
    workspace TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace, sha256)
) STRICT, WITHOUT ROWID;
