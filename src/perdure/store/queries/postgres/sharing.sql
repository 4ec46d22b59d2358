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
INSERT INTO blob_chunks (sha256, n, data) VALUES (:sha256, :n, :data) ON CONFLICT (sha256, n) DO NOTHING;

-- name: content_put
INSERT INTO blob_contents (sha256, size_bytes, chunks, created_at)
VALUES (:sha256, :size_bytes, :chunks, extract(EPOCH FROM clock_timestamp()) * 1000000)
ON CONFLICT (sha256) DO NOTHING;
