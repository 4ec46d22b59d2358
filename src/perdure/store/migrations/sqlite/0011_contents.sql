-- Contents of large values, by each execution that refers to one: what nothing refers to any more can be removed.

DROP TABLE blobs;

CREATE TABLE blobs (
    execution_id BLOB NOT NULL,
    sha256 BLOB NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (execution_id, sha256)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO blobs
SELECT execution_id, input_blob, input_size FROM payloads WHERE input_blob IS NOT NULL
UNION ALL
SELECT execution_id, output_blob, output_size FROM payloads WHERE output_blob IS NOT NULL
UNION ALL
SELECT execution_id, input_blob, input_size FROM node_runs WHERE input_blob IS NOT NULL
UNION ALL
SELECT execution_id, output_blob, output_size FROM node_runs WHERE output_blob IS NOT NULL;

CREATE INDEX blobs_by_content ON blobs (sha256);
CREATE INDEX artifacts_by_content ON artifacts (sha256);

-- By which the store knows a folder of contents as its own.
INSERT OR IGNORE INTO measures (name, value) VALUES ('store_id', random() & 0x7fffffffffffffff);
