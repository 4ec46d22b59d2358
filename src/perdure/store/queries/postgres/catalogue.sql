-- Workers: alive by the clock of the database, whatever their own say.

-- name: workers_put
-- rows: id text, name text, host text, pid bigint, started_at bigint, heartbeat_at bigint, stopped_at bigint
-- rows: queues text, slots bigint, tags text, version text
WITH {batch}
INSERT INTO workers (id, name, host, pid, started_at, heartbeat_at, stopped_at, queues, slots, tags, version)
SELECT
    b.id, b.name, b.host, b.pid, b.started_at, extract(EPOCH FROM clock_timestamp()) * 1000000, b.stopped_at, b.queues,
    b.slots, b.tags, b.version
FROM batch AS b;

-- name: workers_alive
-- rows: id text
-- returns: id text
SELECT k.id FROM workers AS k WHERE k.id = ANY (:id) AND k.stopped_at IS NULL ORDER BY k.id FOR KEY SHARE;

-- Sessions of processes that were stopped between the preparation of a statement and the rest: they are not idle, so that no
-- timeout of the server ends them (before version 17), and what they have locked stays so.
-- name: sessions_end
-- returns: is_ended bool
SELECT pg_terminate_backend(stuck.pid)
FROM (
    SELECT a.pid
    FROM pg_stat_activity AS a
    WHERE
        a.datname = current_database()
        AND a.usename = current_user
        AND a.state = 'active'
        AND a.wait_event = 'ClientRead'
        AND extract(EPOCH FROM a.state_change) * 1000000 < extract(EPOCH FROM clock_timestamp()) * 1000000 - :silent::bigint
        AND (
            a.application_name LIKE 'perdure writer %'
            OR a.application_name IN ('perdure contents', 'perdure indexer', 'perdure partitions')
        )
    OFFSET 0
) AS stuck;

-- name: workers_stale
-- returns: id text
SELECT k.id
FROM workers AS k
WHERE
    k.stopped_at IS NULL
    AND k.heartbeat_at < extract(EPOCH FROM clock_timestamp()) * 1000000
    - greatest(:lease::bigint, (SELECT s.value FROM measures AS s WHERE s.name = 'lease'))
ORDER BY k.id
LIMIT :limit
FOR UPDATE SKIP LOCKED;

-- name: workers_drop
-- rows: id text
DELETE FROM workers WHERE id = ANY (:id);

-- Whoever claims in their name just now is waited for.
-- name: workers_stop
-- rows: id text, at bigint
SELECT k.id FROM workers AS k WHERE k.id = ANY (:id) AND k.stopped_at IS NULL ORDER BY k.id FOR UPDATE;
WITH {batch}
UPDATE workers
SET stopped_at = batch.at
FROM batch
WHERE workers.id = ANY (ARRAY[batch.id]) AND workers.stopped_at IS NULL;

-- name: workers_stop_others
SELECT k.id FROM workers AS k WHERE k.stopped_at IS NULL AND k.id <> :worker ORDER BY k.id FOR UPDATE;
UPDATE workers SET stopped_at = :at WHERE stopped_at IS NULL AND id <> :worker;

-- name: contents_used
-- rows: sha256 bytea
-- returns: sha256 bytea
WITH {batch}
SELECT batch.sha256
FROM batch
WHERE
    (SELECT 1 FROM blobs AS b WHERE b.sha256 = batch.sha256 LIMIT 1) IS NOT NULL
    OR (SELECT 1 FROM artifacts AS a WHERE a.sha256 = batch.sha256 LIMIT 1) IS NOT NULL;
