-- Waits for somebody from outside: the inbox of a workspace, who may answer, signals that nobody has taken yet.
-- The condition on the kinds is written out, so that the indexes of these waits alone serve.

-- name: wait_approvers_put
-- rows: execution_id uuid, node text, ordinal bigint, label text, approver text, workspace text, created_at bigint
INSERT INTO wait_approvers {insert}
ON CONFLICT (execution_id, node, ordinal, label, approver) DO UPDATE SET created_at = excluded.created_at;

-- name: signals_put
-- rows: execution_id uuid, name text, payload text, sender text, at bigint
INSERT INTO signals {insert};

-- name: signals_kept
-- rows: id uuid
-- returns: execution_id uuid, n bigint, name text
WITH {batch}
SELECT s.execution_id, s.n, s.name
FROM batch CROSS JOIN signals AS s ON s.execution_id = batch.id
ORDER BY s.n;

-- name: signal
-- returns: payload text, sender text
SELECT s.payload, s.sender FROM signals AS s WHERE s.n = :n;

-- name: signals_take
-- rows: n bigint, execution_id uuid
WITH {batch}
DELETE FROM signals WHERE (n, execution_id) IN (SELECT batch.n, batch.execution_id FROM batch);

-- What an end leaves behind: nothing is waited for, and nobody reads what was sent.
-- name: waiting_clear
-- rows: id uuid
WITH {batch}
DELETE FROM waits WHERE execution_id IN (SELECT batch.id FROM batch);
WITH {batch}
DELETE FROM signals WHERE execution_id IN (SELECT batch.id FROM batch);
WITH {batch}
DELETE FROM inbox WHERE execution_id IN (SELECT batch.id FROM batch);

-- name: inbox_by_kind
-- returns: {wait}
SELECT {wait}
FROM waits AS w
WHERE
    w.workspace = :workspace
    AND w.kind = :kind
    AND w.kind IN ('approval', 'ask', 'signal', 'pause')
    AND (w.created_at, w.execution_id, w.node, w.ordinal, w.label) > (:at, :id, :node, :ordinal, :label)
ORDER BY w.created_at, w.execution_id, w.node, w.ordinal, w.label
LIMIT :limit;

-- name: inbox_by_flow
-- returns: {wait}
SELECT {wait}
FROM waits AS w
WHERE
    w.workspace = :workspace
    AND w.flow = :flow
    AND w.kind IN ('approval', 'ask', 'signal', 'pause')
    AND (w.created_at, w.execution_id, w.node, w.ordinal, w.label) > (:at, :id, :node, :ordinal, :label)
ORDER BY w.created_at, w.execution_id, w.node, w.ordinal, w.label
LIMIT :limit;

-- name: inbox_by_due
-- returns: {wait}
SELECT {wait}
FROM waits AS w
WHERE
    w.workspace = :workspace
    AND w.due_at IS NOT NULL
    AND w.kind IN ('approval', 'ask', 'signal', 'pause')
    AND (w.due_at, w.execution_id, w.node, w.ordinal, w.label) > (:at, :id, :node, :ordinal, :label)
ORDER BY w.due_at, w.execution_id, w.node, w.ordinal, w.label
LIMIT :limit;

-- name: inbox_by_approver
-- returns: {wait}
SELECT {wait}
FROM wait_approvers AS a
CROSS JOIN waits AS w
    ON w.execution_id = a.execution_id AND w.node = a.node AND w.ordinal = a.ordinal AND w.label = a.label
WHERE
    a.workspace = :workspace
    AND a.approver = :approver
    AND (a.created_at, a.execution_id, a.node, a.ordinal, a.label) > (:at, :id, :node, :ordinal, :label)
ORDER BY a.created_at, a.execution_id, a.node, a.ordinal, a.label
LIMIT :limit;
