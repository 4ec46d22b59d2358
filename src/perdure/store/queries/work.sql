-- What makes executions move: queue, inbox, timers, slots, rates, idempotency keys.

-- name: queue_put
-- rows: execution_id uuid, workspace text, queue text, rank bigint
INSERT INTO queue {insert} ON CONFLICT (execution_id) DO NOTHING;

-- name: queue_clear
-- rows: id uuid
WITH {batch}
DELETE FROM queue WHERE execution_id IN (SELECT batch.id FROM batch);

-- name: queue_lines
-- returns: queue text, workspace text
-- From name to name in the index, one seek each; SQLite would walk through a whole line for (queue, workspace) > (…).
WITH RECURSIVE
names (queue) AS (
    SELECT min(q.queue) FROM queue AS q
    UNION ALL
    SELECT (SELECT min(q.queue) FROM queue AS q WHERE q.queue > names.queue) FROM names WHERE names.queue IS NOT NULL
),
lines (queue, workspace) AS (
    SELECT names.queue, (SELECT min(q.workspace) FROM queue AS q WHERE q.queue = names.queue)
    FROM names WHERE names.queue IS NOT NULL
    UNION ALL
    SELECT
        lines.queue,
        (SELECT min(q.workspace) FROM queue AS q WHERE q.queue = lines.queue AND q.workspace > lines.workspace)
    FROM lines WHERE lines.workspace IS NOT NULL
)
SELECT lines.queue, lines.workspace FROM lines WHERE lines.workspace IS NOT NULL;

-- name: queue_head
-- returns: rank bigint, execution_id uuid
SELECT q.rank, q.execution_id
FROM queue AS q
WHERE q.queue = :queue AND q.workspace = :workspace AND (q.rank, q.execution_id) > (:rank, :id)
ORDER BY q.rank, q.execution_id
LIMIT :limit;

-- name: queue_family
-- returns: rank bigint, execution_id uuid
SELECT q.rank, q.execution_id FROM queue AS q WHERE q.execution_id = :root
UNION ALL
SELECT q.rank, q.execution_id
FROM executions AS e CROSS JOIN queue AS q ON q.execution_id = e.id
WHERE e.root = :root AND e.depth > 0 AND e.kind = 'flow'
UNION ALL
SELECT q.rank, q.execution_id
FROM executions AS e CROSS JOIN queue AS q ON q.execution_id = e.id
WHERE e.root = :root AND e.kind = 'unit'
ORDER BY 1, 2
LIMIT :limit;

-- name: inbox_put
-- rows: execution_id uuid, kind text, data text, at bigint
INSERT INTO inbox {insert};

-- name: inbox_take
-- rows: n bigint, execution_id uuid
WITH {batch}
DELETE FROM inbox WHERE (n, execution_id) IN (SELECT batch.n, batch.execution_id FROM batch);

-- name: inbox_of
-- rows: id uuid
-- returns: {message}
WITH {batch}
SELECT {message}
FROM batch CROSS JOIN inbox AS m ON m.execution_id = batch.id
ORDER BY m.n;

-- name: inbox_waiting
-- rows: id uuid
-- returns: id uuid
WITH {batch}
SELECT batch.id
FROM batch
WHERE EXISTS (SELECT 1 FROM inbox AS m WHERE m.execution_id = batch.id);

-- name: timers_put
-- rows: execution_id uuid, kind text, due_at bigint
INSERT INTO timers {insert} ON CONFLICT (execution_id, kind) DO UPDATE SET due_at = excluded.due_at;

-- name: timers_due
-- returns: execution_id uuid, kind text, due_at bigint
SELECT t.execution_id, t.kind, t.due_at
FROM timers AS t
WHERE t.due_at <= :at
ORDER BY t.due_at, t.execution_id, t.kind
LIMIT :limit;

-- name: timers_next
-- returns: due_at bigint
SELECT min(t.due_at) FROM timers AS t;

-- name: timers_drop
-- rows: execution_id uuid, kind text
WITH {batch}
DELETE FROM timers WHERE (execution_id, kind) IN (SELECT batch.execution_id, batch.kind FROM batch);

-- name: timers_clear
-- rows: id uuid
WITH {batch}
DELETE FROM timers WHERE execution_id IN (SELECT batch.id FROM batch);

-- name: slots_put
-- rows: execution_id uuid, workspace text, limit_key text, max_held bigint, held bigint, rank bigint
INSERT INTO slots {insert};

-- name: slots_take
-- rows: id uuid
WITH {batch}
UPDATE slots SET held = 1 WHERE execution_id IN (SELECT batch.id FROM batch);

-- name: slots_leave
-- rows: id uuid
WITH {batch}
UPDATE slots SET leaving = 1 WHERE execution_id IN (SELECT batch.id FROM batch);

-- name: slots_clear
-- rows: id uuid
WITH {batch}
DELETE FROM slots WHERE execution_id IN (SELECT batch.id FROM batch);

-- name: limits
-- rows: workspace text, limit_key text
-- returns: workspace text, limit_key text, held bigint, holder uuid, waiters_limit bigint
WITH {batch}
SELECT
    batch.workspace,
    batch.limit_key,
    (SELECT count(*) FROM slots AS s WHERE s.workspace = batch.workspace AND s.limit_key = batch.limit_key AND s.held = 1),
    (
        SELECT s.execution_id
        FROM slots AS s
        WHERE s.workspace = batch.workspace AND s.limit_key = batch.limit_key AND s.held = 1
        ORDER BY s.rank, s.execution_id
        LIMIT 1
    ),
    (
        SELECT s.max_held
        FROM slots AS s
        WHERE s.workspace = batch.workspace AND s.limit_key = batch.limit_key AND s.held = 0
        ORDER BY s.rank, s.execution_id
        LIMIT 1
    )
FROM batch;

-- name: slots_relimit
UPDATE slots SET max_held = :max_held WHERE workspace = :workspace AND limit_key = :limit_key AND held = 0;

-- name: limits_wanted
-- rows: workspace text, limit_key text
-- returns: workspace text, limit_key text, held bigint
WITH {batch}
SELECT
    batch.workspace,
    batch.limit_key,
    (SELECT count(*) FROM slots AS s WHERE s.workspace = batch.workspace AND s.limit_key = batch.limit_key AND s.held = 1)
FROM batch
WHERE EXISTS (SELECT 1 FROM slots AS s WHERE s.workspace = batch.workspace AND s.limit_key = batch.limit_key AND s.held = 0);

-- name: limit_waiters
-- returns: execution_id uuid, max_held bigint
SELECT s.execution_id, s.max_held
FROM slots AS s
WHERE s.workspace = :workspace AND s.limit_key = :limit_key AND s.held = 0
ORDER BY s.rank, s.execution_id
LIMIT :limit;

-- name: limit_members
-- returns: execution_id uuid, max_held bigint
SELECT s.execution_id, s.max_held
FROM slots AS s
WHERE s.workspace = :workspace AND s.limit_key = :limit_key AND s.leaving = 0
ORDER BY s.held DESC, s.execution_id;

-- name: rates
-- rows: workspace text, rate_key text
-- returns: workspace text, rate_key text, tat bigint
WITH {batch}
SELECT t.workspace, t.rate_key, t.tat
FROM batch CROSS JOIN rates AS t ON t.workspace = batch.workspace AND t.rate_key = batch.rate_key;

-- name: rates_put
-- rows: workspace text, rate_key text, tat bigint
INSERT INTO rates {insert} ON CONFLICT (workspace, rate_key) DO UPDATE SET tat = excluded.tat;

-- name: rates_page
-- returns: workspace text, rate_key text, tat bigint
SELECT t.workspace, t.rate_key, t.tat
FROM rates AS t
WHERE (t.workspace, t.rate_key) > (:workspace, :key)
ORDER BY t.workspace, t.rate_key
LIMIT :limit;

-- name: rates_drop
-- rows: workspace text, rate_key text, before bigint
WITH {batch}
DELETE FROM rates
WHERE
    (workspace, rate_key) IN (SELECT batch.workspace, batch.rate_key FROM batch)
    AND tat < (SELECT min(batch.before) FROM batch);

-- name: keys
-- rows: workspace text, key text
-- returns: workspace text, key text, request_hash bytea, created_at bigint, id uuid, number bigint, status text, reason text, epoch bigint, last_seq bigint
WITH {batch}
SELECT k.workspace, k.key, k.request_hash, k.created_at, e.id, e.number, e.status, e.reason, e.epoch, e.last_seq
FROM batch
CROSS JOIN idempotency AS k ON k.workspace = batch.workspace AND k.key = batch.key
CROSS JOIN executions AS e ON e.id = k.execution_id;

-- name: keys_put
-- rows: workspace text, key text, request_hash bytea, execution_id uuid, created_at bigint
INSERT INTO idempotency {insert}
ON CONFLICT (workspace, key) DO UPDATE
SET
    request_hash = excluded.request_hash,
    execution_id = excluded.execution_id,
    created_at = excluded.created_at;

-- name: tags_put
-- rows: workspace text, key text, value text, execution_id uuid
INSERT INTO tags {insert};
