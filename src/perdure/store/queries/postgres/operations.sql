-- As in the shared file; rows that are about to change are locked, and the batch always drives.

-- name: operation_locked
-- returns: {operation}
SELECT {operation} FROM operations AS o WHERE o.id = :id FOR UPDATE;

-- name: operation_goes_on
-- returns: goes_on bigint
SELECT 1 FROM operations AS o WHERE o.id = :id AND o.holder = :holder AND o.status IN ('collecting', 'running') FOR UPDATE;

-- name: operation_next
-- returns: {operation}
SELECT {operation}
FROM operations AS o
WHERE o.status IN ('collecting', 'running') AND o.free_at <= :at
ORDER BY o.free_at, o.id
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- name: operation_items_open
-- rows: operation_id uuid, n bigint
-- returns: n bigint, outcome text
WITH {batch}
SELECT i.n, i.outcome
FROM batch CROSS JOIN LATERAL (
    SELECT * FROM operation_items AS x WHERE x.operation_id = batch.operation_id AND x.n = batch.n OFFSET 0
) AS i
WHERE i.outcome IN ('waiting', 'asked');

-- name: operation_items_settle
-- rows: operation_id uuid, n bigint, outcome text, code text, detail text, result_id uuid, at bigint
WITH {batch}
UPDATE operation_items
SET outcome = batch.outcome, code = batch.code, detail = batch.detail, result_id = batch.result_id, at = batch.at
FROM batch
WHERE
    operation_items.operation_id = ANY (ARRAY[batch.operation_id])
    AND operation_items.n = ANY (ARRAY[batch.n]);

-- name: operation_items_news
-- returns: {operation_item}
SELECT {operation_item}
FROM operation_items AS i
LEFT JOIN LATERAL (SELECT * FROM executions AS x WHERE x.id = i.execution_id OFFSET 0) AS e ON TRUE
WHERE
    i.operation_id = :id
    AND i.outcome = 'asked'
    AND (e.id IS NULL OR e.worker IS NULL OR e.status = 'cancelling' OR e.finished_at IS NOT NULL)
ORDER BY i.n
LIMIT :limit;
