-- Tags of executions that are there already, and the removal of executions with all their rows.

-- name: executions_marks
-- rows: id uuid
-- returns: id uuid, tags text, idempotency_key text
WITH {batch}
SELECT e.id, e.tags, e.idempotency_key
FROM batch CROSS JOIN executions AS e ON e.id = batch.id;

-- name: executions_tag
-- rows: id uuid, number bigint, tags text, updated_at bigint
WITH {batch}
UPDATE executions
SET tags = batch.tags, last_seq = last_seq + 1, updated_at = batch.updated_at
FROM batch
WHERE executions.number = batch.number;

-- name: tags_drop
-- rows: workspace text, key text, value text, execution_id uuid
WITH {batch}
DELETE FROM tags
WHERE
    (workspace, key, value, execution_id)
    IN (SELECT batch.workspace, batch.key, batch.value, batch.execution_id FROM batch);

-- name: children_all
-- rows: id uuid
-- returns: {standing}
WITH {batch}
SELECT {standing}
FROM batch CROSS JOIN executions AS e ON e.parent = batch.id;

-- A key that a newer execution has taken since stays with that one.
-- name: keys_forget
-- rows: workspace text, key text, execution_id uuid
WITH {batch}
DELETE FROM idempotency
WHERE
    (workspace, key) IN (SELECT batch.workspace, batch.key FROM batch)
    AND execution_id IN (SELECT batch.execution_id FROM batch);

-- name: artifacts_forget
-- rows: workspace text, id uuid
WITH {batch}
DELETE FROM artifacts
WHERE (workspace, execution_id) IN (SELECT batch.workspace, batch.id FROM batch);

-- name: executions_erase
-- rows: id uuid
WITH {batch}
DELETE FROM events WHERE execution_id IN (SELECT batch.id FROM batch);
WITH {batch}
DELETE FROM node_runs WHERE execution_id IN (SELECT batch.id FROM batch);
WITH {batch}
DELETE FROM payloads WHERE execution_id IN (SELECT batch.id FROM batch);
WITH {batch}
DELETE FROM executions WHERE id IN (SELECT batch.id FROM batch);
