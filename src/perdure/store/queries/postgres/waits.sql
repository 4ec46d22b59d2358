-- Waits for somebody from outside.

-- name: signals_kept
-- rows: id uuid
-- returns: execution_id uuid, n bigint, name text
WITH {batch}
SELECT s.execution_id, s.n, s.name
FROM batch CROSS JOIN LATERAL (SELECT * FROM signals AS x WHERE x.execution_id = batch.id OFFSET 0) AS s
ORDER BY s.n;

-- name: signals_take
-- rows: n bigint, execution_id uuid
WITH {batch}
DELETE FROM signals
USING batch
WHERE signals.n = ANY (ARRAY[batch.n]) AND signals.execution_id = ANY (ARRAY[batch.execution_id]);

-- name: waiting_clear
-- rows: id uuid
DELETE FROM waits WHERE execution_id = ANY (:id);
DELETE FROM signals WHERE execution_id = ANY (:id);
DELETE FROM inbox WHERE execution_id = ANY (:id);

-- name: inbox_by_approver
-- returns: {wait}
SELECT {wait}
FROM wait_approvers AS a
CROSS JOIN LATERAL (
    SELECT *
    FROM waits AS x
    WHERE x.execution_id = a.execution_id AND x.node = a.node AND x.ordinal = a.ordinal AND x.label = a.label
    OFFSET 0
) AS w
WHERE
    a.workspace = :workspace
    AND a.approver = :approver
    AND (a.created_at, a.execution_id, a.node, a.ordinal, a.label) > (:at, :id, :node, :ordinal, :label)
ORDER BY a.created_at, a.execution_id, a.node, a.ordinal, a.label
LIMIT :limit;
