-- The contents of artifacts and of large values, for processes that share no folder.

CREATE TABLE blob_chunks (
    sha256 bytea NOT NULL,
    n bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (sha256, n)
);

-- What comes here is mostly compressed already, or is cheaper sent than squeezed.
ALTER TABLE blob_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- A content is whole once its row is here.
CREATE TABLE blob_contents (
    sha256 bytea PRIMARY KEY,
    size_bytes bigint NOT NULL,
    chunks bigint NOT NULL,
    created_at bigint NOT NULL
);
