-- The index of a SQLite store, in a file of its own beside it. A file of another version is made anew.

CREATE TABLE search_state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE search_tail (
    workspace TEXT NOT NULL,
    execution_id BLOB NOT NULL,
    PRIMARY KEY (workspace, execution_id)
) STRICT, WITHOUT ROWID;

-- place: in the volume by whose number the segment's parts stand: its own one, until it is merged with others.
CREATE TABLE search_segments (
    number INTEGER PRIMARY KEY,
    workspace TEXT NOT NULL,
    first_id BLOB NOT NULL,
    last_id BLOB NOT NULL,
    members BLOB NOT NULL,
    size INTEGER NOT NULL,
    volume INTEGER NOT NULL,
    place INTEGER NOT NULL
) STRICT;

CREATE INDEX search_segments_by_workspace ON search_segments (workspace, number, first_id, last_id);
CREATE INDEX search_segments_by_last ON search_segments (last_id);
CREATE INDEX search_segments_by_volume ON search_segments (volume);
CREATE INDEX search_segments_loose ON search_segments (workspace, size, number) WHERE volume = number;

CREATE TABLE search_parts (
    volume INTEGER NOT NULL,
    part INTEGER NOT NULL,
    grams BLOB NOT NULL,
    PRIMARY KEY (volume, part)
) STRICT, WITHOUT ROWID;
