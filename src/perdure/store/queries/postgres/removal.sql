-- As in the shared file; the batch always drives (see `executions.sql`).

-- name: executions_marks
-- rows: id uuid
-- returns: id uuid, tags text, idempotency_key text
WITH {batch}
SELECT e.id, e.tags, e.idempotency_key
FROM batch CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.id = batch.id OFFSET 0) AS e;

-- name: executions_tag
-- rows: id uuid, number bigint, tags text, updated_at bigint
WITH {batch}
UPDATE executions
SET tags = batch.tags, last_seq = last_seq + 1, updated_at = batch.updated_at
FROM batch
WHERE executions.id = ANY (ARRAY[batch.id]);

-- name: tags_drop
-- rows: workspace text, key text, value text, execution_id uuid
WITH {batch}
DELETE FROM tags
USING batch
WHERE
    tags.workspace = ANY (ARRAY[batch.workspace])
    AND tags.key = ANY (ARRAY[batch.key])
    AND tags.value = ANY (ARRAY[batch.value])
    AND tags.execution_id = ANY (ARRAY[batch.execution_id]);

-- name: children_all
-- rows: id uuid
-- returns: {standing}
WITH {batch}
SELECT {standing}
FROM batch CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.parent = batch.id FOR UPDATE) AS e;

-- name: keys_forget
-- rows: workspace text, key text, execution_id uuid
WITH {batch}
DELETE FROM idempotency
USING batch
WHERE
    idempotency.workspace = ANY (ARRAY[batch.workspace])
    AND idempotency.key = ANY (ARRAY[batch.key])
    AND idempotency.execution_id = batch.execution_id;

-- name: artifacts_forget
-- rows: workspace text, id uuid
WITH {batch}
DELETE FROM artifacts
USING batch
WHERE artifacts.workspace = ANY (ARRAY[batch.workspace]) AND artifacts.execution_id = ANY (ARRAY[batch.id]);

-- name: executions_with_events
-- rows: id uuid
-- returns: id uuid
WITH {batch}
SELECT batch.id
FROM batch
WHERE (SELECT 1 FROM events AS v WHERE v.execution_id = batch.id LIMIT 1) IS NOT NULL;

-- name: events_drop
-- rows: execution_id uuid, seq bigint
WITH {batch}
DELETE FROM events
USING batch
WHERE events.execution_id = ANY (ARRAY[batch.execution_id]) AND events.seq = batch.seq;

-- name: node_runs_drop
-- rows: execution_id uuid, node text, ordinal bigint, label text
WITH {batch}
DELETE FROM node_runs
USING batch
WHERE
    node_runs.execution_id = ANY (ARRAY[batch.execution_id])
    AND node_runs.node = batch.node
    AND node_runs.ordinal = batch.ordinal
    AND node_runs.label = batch.label;

-- name: executions_erase
-- rows: id uuid
WITH
    gone_events AS (DELETE FROM events WHERE execution_id = ANY (:id)),
    gone_blobs AS (DELETE FROM blobs WHERE execution_id = ANY (:id)),
    gone_node_runs AS (DELETE FROM node_runs WHERE execution_id = ANY (:id)),
    gone_payloads AS (DELETE FROM payloads WHERE execution_id = ANY (:id))

DELETE FROM executions WHERE id = ANY (:id);
