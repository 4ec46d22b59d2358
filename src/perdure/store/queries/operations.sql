-- Operations on many executions, and their items.

-- shape: operation = o.id uuid, o.workspace text, o.action text, o.status text, o.request text, o.plan text,
--   o.asked_by text, o.idempotency_key text, o.request_hash bytea, o.until uuid, o.collected_to uuid, o.total bigint,
--   o.succeeded bigint, o.refused bigint, o.error text, o.holder text, o.free_at bigint, o.created_at bigint,
--   o.updated_at bigint, o.finished_at bigint

-- shape: operation_item = i.n bigint, i.execution_id uuid, i.outcome text, i.code text, i.detail text, i.result_id uuid,
--   i.at bigint

-- name: operations_put
-- rows: id uuid, workspace text, action text, status text, request text, plan text, asked_by text, idempotency_key text
-- rows: request_hash bytea, until uuid, collected_to uuid, total bigint, succeeded bigint, refused bigint, error text
-- rows: holder text, free_at bigint, created_at bigint, updated_at bigint, finished_at bigint
INSERT INTO operations {insert} ON CONFLICT DO NOTHING;

-- name: operation_by_key
-- returns: {operation}
SELECT {operation} FROM operations AS o WHERE o.workspace = :workspace AND o.idempotency_key = :key;

-- name: operation_locked
-- returns: {operation}
SELECT {operation} FROM operations AS o WHERE o.id = :id;

-- name: operation_goes_on
-- returns: goes_on bigint
SELECT 1 FROM operations AS o WHERE o.id = :id AND o.holder = :holder AND o.status IN ('collecting', 'running');

-- The one that was left alone the longest.
-- name: operation_next
-- returns: {operation}
SELECT {operation}
FROM operations AS o
WHERE o.status IN ('collecting', 'running') AND o.free_at <= :at
ORDER BY o.free_at, o.id
LIMIT 1;

-- name: operation_free
-- returns: id uuid
SELECT o.id FROM operations AS o WHERE o.status IN ('collecting', 'running') AND o.free_at <= :at LIMIT 1;

-- name: operation_move
UPDATE operations
SET
    status = :status,
    collected_to = :collected_to,
    total = :total,
    succeeded = :succeeded,
    refused = :refused,
    error = :error,
    holder = :holder,
    free_at = :free_at,
    updated_at = :updated_at,
    finished_at = :finished_at
WHERE id = :id;

-- name: operation_items_put
-- rows: operation_id uuid, n bigint, execution_id uuid, outcome text
INSERT INTO operation_items {insert};

-- name: operation_items_open
-- rows: operation_id uuid, n bigint
-- returns: n bigint, outcome text
WITH {batch}
SELECT i.n, i.outcome
FROM batch CROSS JOIN operation_items AS i ON i.operation_id = batch.operation_id AND i.n = batch.n
WHERE i.outcome IN ('waiting', 'asked');

-- name: operation_items_settle
-- rows: operation_id uuid, n bigint, outcome text, code text, detail text, result_id uuid, at bigint
WITH {batch}
UPDATE operation_items
SET outcome = batch.outcome, code = batch.code, detail = batch.detail, result_id = batch.result_id, at = batch.at
FROM batch
WHERE operation_items.operation_id = {+}batch.operation_id AND operation_items.n = batch.n;

-- name: operation_get
-- returns: {operation}
SELECT {operation} FROM operations AS o WHERE o.workspace = :workspace AND o.id = :id;

-- name: operation_list
-- returns: {operation}
SELECT {operation}
FROM operations AS o
WHERE
    o.workspace = :workspace
    AND o.id >= :first
    AND o.id < :before
    AND o.created_at >= :created_after
    AND o.created_at < :created_before
ORDER BY o.id DESC
LIMIT :limit;

-- name: operation_list_by_status
-- returns: {operation}
SELECT {operation}
FROM operations AS o
WHERE
    o.workspace = :workspace
    AND o.status = :status
    AND o.id >= :first
    AND o.id < :before
    AND o.created_at >= :created_after
    AND o.created_at < :created_before
ORDER BY o.id DESC
LIMIT :limit;

-- name: operation_list_by_action
-- returns: {operation}
SELECT {operation}
FROM operations AS o
WHERE
    o.workspace = :workspace
    AND o.action = :action
    AND o.id >= :first
    AND o.id < :before
    AND o.created_at >= :created_after
    AND o.created_at < :created_before
ORDER BY o.id DESC
LIMIT :limit;

-- name: operation_list_by_both
-- returns: {operation}
SELECT {operation}
FROM operations AS o
WHERE
    o.workspace = :workspace
    AND o.status = :status
    AND o.action = :action
    AND o.id >= :first
    AND o.id < :before
    AND o.created_at >= :created_after
    AND o.created_at < :created_before
ORDER BY o.id DESC
LIMIT :limit;

-- name: operation_items
-- returns: {operation_item}
SELECT {operation_item}
FROM operation_items AS i
WHERE i.operation_id = :id AND i.n > :after
ORDER BY i.n
LIMIT :limit;

-- name: operation_items_by_outcome
-- returns: {operation_item}
SELECT {operation_item}
FROM operation_items AS i
WHERE i.operation_id = :id AND i.outcome = :outcome AND i.n > :after
ORDER BY i.n
LIMIT :limit;

-- Of what owners were asked for: what has ended, is about to, has lost its owner, or is gone.
-- name: operation_items_news
-- returns: {operation_item}
SELECT {operation_item}
FROM operation_items AS i
LEFT JOIN executions AS e ON e.id = i.execution_id
WHERE
    i.operation_id = :id
    AND i.outcome = 'asked'
    AND (e.id IS NULL OR e.worker IS NULL OR e.status = 'cancelling' OR e.finished_at IS NOT NULL)
ORDER BY i.n
LIMIT :limit;

-- name: operations_stale
-- returns: id uuid
SELECT o.id FROM operations AS o WHERE o.finished_at < :before ORDER BY o.finished_at LIMIT 1;

-- name: operation_items_drop
DELETE FROM operation_items WHERE operation_id = :id AND n <= :last;

-- name: operation_drop
DELETE FROM operations WHERE id = :id;
