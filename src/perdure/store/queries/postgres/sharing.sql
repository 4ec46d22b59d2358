-- What processes on one store need to live together: proof of life, wake-ups, contents of blobs.

-- name: pulse
-- returns: one bigint
UPDATE workers
SET heartbeat_at = extract(EPOCH FROM clock_timestamp()) * 1000000
WHERE id = :worker AND stopped_at IS NULL
RETURNING 1;

-- name: clock
-- returns: at bigint
SELECT (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint;

-- name: notify
-- returns: count bigint
SELECT count(pg_notify(:channel::text, payload)) FROM unnest(:payloads::text[]) AS payload;

-- name: content
-- returns: size_bytes bigint, chunks bigint
SELECT c.size_bytes, c.chunks FROM blob_contents AS c WHERE c.sha256 = :sha256;

-- name: content_chunk
-- returns: data bytea
SELECT b.data FROM blob_chunks AS b WHERE b.sha256 = :sha256 AND b.n = :n;

-- name: content_chunk_put
INSERT INTO blob_chunks (sha256, n, data, put_at)
VALUES (:sha256, :n, :data, extract(EPOCH FROM clock_timestamp()) * 1000000)
ON CONFLICT (sha256, n) DO UPDATE SET put_at = excluded.put_at WHERE blob_chunks.put_at < excluded.put_at - 3600000000;

-- name: content_put
INSERT INTO blob_contents (sha256, size_bytes, chunks, put_at)
VALUES (:sha256, :size_bytes, :chunks, extract(EPOCH FROM clock_timestamp()) * 1000000)
ON CONFLICT (sha256) DO UPDATE SET put_at = excluded.put_at;

-- What was put within the hour is not written again: nothing is removed that is younger than that. Of an older one, the
-- update waits for whoever removes it, and finds it gone.
-- name: content_hold
-- returns: one bigint
WITH
    held AS (
        UPDATE blob_contents
        SET put_at = extract(EPOCH FROM clock_timestamp()) * 1000000
        WHERE sha256 = :sha256 AND put_at < extract(EPOCH FROM clock_timestamp()) * 1000000 - 3600000000
        RETURNING 1 AS one
    )

SELECT h.one::bigint FROM held AS h
UNION ALL
SELECT 1
FROM blob_contents AS c
WHERE c.sha256 = :sha256 AND c.put_at >= extract(EPOCH FROM clock_timestamp()) * 1000000 - 3600000000;

-- name: contents_among
-- returns: sha256 bytea
SELECT c.sha256 FROM blob_contents AS c WHERE c.sha256 = ANY (:sha256s::bytea[]);

-- name: contents_old
-- returns: sha256 bytea
SELECT f.sha256
FROM
    (
        (
            SELECT c.sha256
            FROM blob_contents AS c
            WHERE c.sha256 > :after AND c.put_at < extract(EPOCH FROM clock_timestamp()) * 1000000 - :age::bigint
            ORDER BY c.sha256
            LIMIT 500
        )
        UNION
        (
            SELECT b.sha256
            FROM blob_chunks AS b
            WHERE
                b.sha256 > :after
                AND b.n = 0
                AND b.put_at < extract(EPOCH FROM clock_timestamp()) * 1000000 - :age::bigint
                AND (SELECT 1 FROM blob_contents AS c WHERE c.sha256 = b.sha256) IS NULL
            ORDER BY b.sha256
            LIMIT 500
        )
    ) AS f
ORDER BY f.sha256
LIMIT 500;

-- name: contents_remove
-- returns: sha256 bytea
DELETE FROM blob_contents
WHERE
    sha256 = ANY (:sha256s::bytea[])
    AND put_at < extract(EPOCH FROM clock_timestamp()) * 1000000 - :age::bigint
RETURNING sha256;

-- name: content_chunks_remove
-- returns: n bigint
DELETE FROM blob_chunks
WHERE
    sha256 = :sha256
    AND n IN (
        SELECT b.n
        FROM blob_chunks AS b
        WHERE b.sha256 = :sha256 AND NOT EXISTS (SELECT 1 FROM blob_contents AS c WHERE c.sha256 = :sha256)
        ORDER BY b.n
        LIMIT :limit
    )
    AND put_at < extract(EPOCH FROM clock_timestamp()) * 1000000 - :age::bigint
RETURNING n;
