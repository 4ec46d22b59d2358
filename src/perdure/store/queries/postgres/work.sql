-- What makes executions move: queue, inbox, timers, slots, rates, idempotency keys.

-- name: queue_clear
-- rows: id uuid
DELETE FROM queue WHERE execution_id = ANY (:id);

-- name: queue_head
-- returns: rank bigint, execution_id uuid
SELECT q.rank, q.execution_id
FROM queue AS q
WHERE q.queue = :queue AND q.workspace = :workspace AND (q.rank, q.execution_id) > (:rank, :id)
ORDER BY q.rank, q.execution_id
LIMIT :limit
FOR UPDATE SKIP LOCKED;

-- name: queue_family
-- returns: rank bigint, execution_id uuid
SELECT q.rank, q.execution_id FROM queue AS q WHERE q.execution_id = :root
UNION ALL
SELECT q.rank, q.execution_id
FROM
    executions AS e
    CROSS JOIN LATERAL (SELECT x.rank, x.execution_id FROM queue AS x WHERE x.execution_id = e.id OFFSET 0) AS q
WHERE e.root = :root AND e.depth > 0 AND e.kind = 'flow'
UNION ALL
SELECT q.rank, q.execution_id
FROM
    executions AS e
    CROSS JOIN LATERAL (SELECT x.rank, x.execution_id FROM queue AS x WHERE x.execution_id = e.id OFFSET 0) AS q
WHERE e.root = :root AND e.kind = 'unit'
ORDER BY 1, 2
LIMIT :limit;

-- name: inbox_take
-- rows: n bigint, execution_id uuid
WITH {batch}
DELETE FROM inbox
USING batch
WHERE inbox.n = ANY (ARRAY[batch.n]) AND inbox.execution_id = ANY (ARRAY[batch.execution_id]);

-- name: inbox_of
-- rows: id uuid
-- returns: {message}
WITH {batch}
SELECT {message}
FROM batch CROSS JOIN LATERAL (SELECT * FROM inbox AS x WHERE x.execution_id = batch.id OFFSET 0) AS m
ORDER BY m.n;

-- name: inbox_waiting
-- rows: id uuid
-- returns: id uuid
WITH {batch}
SELECT batch.id
FROM batch CROSS JOIN LATERAL (SELECT 1 FROM inbox AS x WHERE x.execution_id = batch.id LIMIT 1) AS m;

-- Timers of executions that are gone go first; then those that nobody else is firing, with their executions.
-- name: timers_due
-- returns: execution_id uuid, kind text, due_at bigint
DELETE FROM timers AS t
WHERE
    t.execution_id = ANY (
        ARRAY(
            SELECT d.execution_id
            FROM (SELECT x.execution_id FROM timers AS x WHERE x.due_at <= :at ORDER BY x.due_at LIMIT :limit) AS d
            WHERE (SELECT 1 FROM executions AS e WHERE e.id = d.execution_id) IS NULL
        )
    )
RETURNING t.execution_id;
SELECT t.execution_id, t.kind, t.due_at
FROM timers AS t CROSS JOIN LATERAL (
    SELECT 1 FROM executions AS x WHERE x.id = t.execution_id FOR UPDATE SKIP LOCKED
) AS e
WHERE t.due_at <= :at
ORDER BY t.due_at, t.execution_id, t.kind
LIMIT :limit
FOR UPDATE OF t SKIP LOCKED;

-- name: timers_drop
-- rows: execution_id uuid, kind text
WITH {batch}
DELETE FROM timers
USING batch
WHERE timers.execution_id = ANY (ARRAY[batch.execution_id]) AND timers.kind = batch.kind;

-- name: timers_clear
-- rows: id uuid
DELETE FROM timers WHERE execution_id = ANY (:id);

-- name: slots_take
-- rows: id uuid
UPDATE slots SET held = 1 WHERE execution_id = ANY (:id);

-- name: slots_leave
-- rows: id uuid
UPDATE slots SET leaving = 1 WHERE execution_id = ANY (:id);

-- name: slots_clear
-- rows: id uuid
DELETE FROM slots WHERE execution_id = ANY (:id);

-- name: rates
-- rows: workspace text, rate_key text
-- returns: workspace text, rate_key text, tat bigint
WITH {batch}
SELECT t.workspace, t.rate_key, t.tat
FROM batch CROSS JOIN LATERAL (
    SELECT * FROM rates AS x WHERE x.workspace = batch.workspace AND x.rate_key = batch.rate_key OFFSET 0
) AS t;

-- name: rates_drop
-- rows: workspace text, rate_key text, before bigint
WITH {batch}
DELETE FROM rates AS t
USING batch
WHERE t.workspace = ANY (ARRAY[batch.workspace]) AND t.rate_key = batch.rate_key AND t.tat < batch.before;

-- name: keys
-- rows: workspace text, key text
-- returns: workspace text, key text, request_hash bytea, created_at bigint, id uuid, number bigint, status text, reason text, epoch bigint, last_seq bigint
WITH {batch}
SELECT k.workspace, k.key, k.request_hash, k.created_at, e.id, e.number, e.status, e.reason, e.epoch, e.last_seq
FROM batch
CROSS JOIN LATERAL (
    SELECT * FROM idempotency AS x WHERE x.workspace = batch.workspace AND x.key = batch.key OFFSET 0
) AS k
CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.id = k.execution_id OFFSET 0) AS e;

-- A key that another process put meanwhile violates NOT NULL, unless it is past its day: then the batch is decided anew.
-- name: keys_put
-- rows: workspace text, key text, request_hash bytea, execution_id uuid, created_at bigint
INSERT INTO idempotency {insert}
ON CONFLICT (workspace, key) DO UPDATE
SET
    request_hash = excluded.request_hash,
    execution_id = excluded.execution_id,
    created_at = CASE WHEN idempotency.created_at <= excluded.created_at - 86400000000 THEN excluded.created_at END;

-- name: keys_drop
-- rows: workspace text, key text
WITH {batch}
DELETE FROM idempotency AS k
USING batch
WHERE k.workspace = ANY (ARRAY[batch.workspace]) AND k.key = batch.key;
