-- The index of a SQLite store, in a file of its own beside it. A file of another version is made anew.

CREATE TABLE search_state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE search_tail (
    workspace TEXT NOT NULL,
    execution_id BLOB NOT NULL,
    PRIMARY KEY (workspace, execution_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE search_segments (
    number INTEGER PRIMARY KEY,
    workspace TEXT NOT NULL,
    first_id BLOB NOT NULL,
    last_id BLOB NOT NULL,
    members BLOB NOT NULL
) STRICT;

CREATE INDEX search_segments_by_workspace ON search_segments (workspace, number, first_id, last_id);
CREATE INDEX search_segments_by_last ON search_segments (last_id);

CREATE TABLE search_parts (
    segment INTEGER NOT NULL,
    part INTEGER NOT NULL,
    grams BLOB NOT NULL,
    PRIMARY KEY (segment, part)
) STRICT, WITHOUT ROWID;
