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

-- name: executions_with_events
-- rows: id uuid
-- returns: id uuid
WITH {batch}
SELECT batch.id FROM batch WHERE EXISTS (SELECT 1 FROM events AS v WHERE v.execution_id = batch.id);

-- name: events_last
-- returns: execution_id uuid, seq bigint
SELECT v.execution_id, v.seq FROM events AS v WHERE v.execution_id = :execution_id ORDER BY v.seq DESC LIMIT :limit;

-- name: events_drop
-- rows: execution_id uuid, seq bigint
WITH {batch}
DELETE FROM events WHERE (execution_id, seq) IN (SELECT batch.execution_id, batch.seq FROM batch);

-- name: node_runs_last
-- returns: execution_id uuid, node text, ordinal bigint, label text
SELECT r.execution_id, r.node, r.ordinal, r.label
FROM node_runs AS r
WHERE r.execution_id = :execution_id
ORDER BY r.node DESC, r.ordinal DESC, r.label DESC
LIMIT :limit;

-- name: node_runs_drop
-- rows: execution_id uuid, node text, ordinal bigint, label text
WITH {batch}
DELETE FROM node_runs
WHERE
    (execution_id, node, ordinal, label)
    IN (SELECT batch.execution_id, batch.node, batch.ordinal, batch.label FROM batch);

-- name: executions_erase
-- rows: id uuid
WITH {batch}
DELETE FROM events WHERE execution_id IN (SELECT batch.id FROM batch);
WITH {batch}
DELETE FROM blobs WHERE execution_id IN (SELECT batch.id FROM batch);
WITH {batch}
DELETE FROM node_runs WHERE execution_id IN (SELECT batch.id FROM batch);
WITH {batch}
DELETE FROM payloads WHERE execution_id IN (SELECT batch.id FROM batch);
WITH {batch}
DELETE FROM executions WHERE id IN (SELECT batch.id FROM batch);
