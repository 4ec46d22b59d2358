-- Node runs and waits.

-- name: node_runs_put
-- rows: execution_id uuid, node text, ordinal bigint, label text, type text, status text, attempt bigint, input text
-- rows: input_blob bytea, input_size bigint, output text, output_blob bytea, output_size bigint, error text
-- rows: started_at bigint, finished_at bigint, retry_at bigint, wake_at bigint, worker text, reused_from uuid
-- rows: interruptions bigint, child uuid
INSERT INTO node_runs {insert}
ON CONFLICT (execution_id, node, ordinal, label) DO UPDATE
SET
    type = excluded.type,
    status = excluded.status,
    attempt = excluded.attempt,
    input = excluded.input,
    input_blob = excluded.input_blob,
    input_size = excluded.input_size,
    output = excluded.output,
    output_blob = excluded.output_blob,
    output_size = excluded.output_size,
    error = excluded.error,
    started_at = excluded.started_at,
    finished_at = excluded.finished_at,
    retry_at = excluded.retry_at,
    wake_at = excluded.wake_at,
    worker = excluded.worker,
    reused_from = excluded.reused_from,
    interruptions = excluded.interruptions,
    child = excluded.child;

-- name: node_runs_of
-- rows: id uuid
-- returns: {node_run}
WITH {batch}
SELECT {node_run}
FROM batch CROSS JOIN node_runs AS r ON r.execution_id = batch.id;

-- name: node_runs_reuse
-- rows: execution_id uuid, source uuid, node text, label text, first bigint, last bigint, shift bigint, to_label text
WITH {batch}
INSERT INTO node_runs (
    execution_id, node, ordinal, label, type, status, attempt, input, input_blob, input_size, output, output_blob,
    output_size, error, started_at, finished_at, worker, reused_from, interruptions, child
)
SELECT
    batch.execution_id, r.node, r.ordinal + batch.shift, batch.to_label, r.type, r.status, r.attempt, r.input, r.input_blob,
    r.input_size, r.output, r.output_blob, r.output_size, r.error, r.started_at, r.finished_at, r.worker,
    coalesce(r.reused_from, batch.source), r.interruptions, r.child
FROM batch CROSS JOIN node_runs AS r
    ON
        r.execution_id = batch.source
        AND r.node = batch.node
        AND r.ordinal BETWEEN batch.first AND batch.last
        AND r.label = batch.label;

-- What the copies refer to; where their original refers to nothing, they are not looked through.
-- name: blobs_reuse
-- rows: execution_id uuid, source uuid
WITH {batch}
INSERT INTO blobs (execution_id, sha256, size)
SELECT r.execution_id, r.input_blob, r.input_size
FROM batch CROSS JOIN node_runs AS r ON r.execution_id = batch.execution_id
WHERE r.input_blob IS NOT NULL AND EXISTS (SELECT 1 FROM blobs AS b WHERE b.execution_id = batch.source)
ON CONFLICT (execution_id, sha256) DO NOTHING;
WITH {batch}
INSERT INTO blobs (execution_id, sha256, size)
SELECT r.execution_id, r.output_blob, r.output_size
FROM batch CROSS JOIN node_runs AS r ON r.execution_id = batch.execution_id
WHERE r.output_blob IS NOT NULL AND EXISTS (SELECT 1 FROM blobs AS b WHERE b.execution_id = batch.source)
ON CONFLICT (execution_id, sha256) DO NOTHING;

-- name: node_runs_recorded
-- returns: node text, ordinal bigint, label text, status text, attempt bigint, has_error bigint, reused_from uuid
SELECT r.node, r.ordinal, r.label, r.status, r.attempt, CASE WHEN r.error IS NULL THEN 0 ELSE 1 END, r.reused_from
FROM executions AS e CROSS JOIN node_runs AS r ON r.execution_id = e.id
WHERE e.id = :id AND e.workspace = :workspace;

-- name: node_runs_active
-- rows: id uuid
-- returns: execution_id uuid, node text, ordinal bigint, label text, attempt bigint, status text
WITH {batch}
SELECT r.execution_id, r.node, r.ordinal, r.label, r.attempt, r.status
FROM batch CROSS JOIN node_runs AS r ON r.execution_id = batch.id
WHERE r.status IN ('running', 'suspended', 'retrying')
ORDER BY r.node, r.ordinal, r.label;

-- name: node_runs_end
-- rows: execution_id uuid, node text, ordinal bigint, label text, status text, error text, at bigint
WITH {batch}
UPDATE node_runs
SET
    status = batch.status,
    error = coalesce(batch.error, node_runs.error),
    finished_at = batch.at,
    retry_at = NULL,
    wake_at = NULL
FROM batch
WHERE
    node_runs.execution_id = {+}batch.execution_id
    AND node_runs.node = batch.node
    AND node_runs.ordinal = batch.ordinal
    AND node_runs.label = batch.label;

-- name: executions_in_flight
-- rows: id uuid
-- returns: id uuid
WITH {batch}
SELECT batch.id
FROM batch
WHERE EXISTS (SELECT 1 FROM node_runs AS r WHERE r.execution_id = batch.id AND r.status = 'running');

-- name: waits_put
-- rows: execution_id uuid, node text, ordinal bigint, label text, kind text, due_at bigint, child uuid, data text
-- rows: created_at bigint, workspace text, flow text
INSERT INTO waits {insert}
ON CONFLICT (execution_id, node, ordinal, label) DO UPDATE
SET
    kind = excluded.kind,
    due_at = excluded.due_at,
    child = excluded.child,
    data = excluded.data,
    created_at = excluded.created_at;

-- name: waits_close
-- rows: execution_id uuid, node text, ordinal bigint, label text
WITH {batch}
DELETE FROM waits
WHERE (execution_id, node, ordinal, label) IN (SELECT batch.execution_id, batch.node, batch.ordinal, batch.label FROM batch);

-- name: waits_of
-- rows: id uuid
-- returns: {wait}
WITH {batch}
SELECT {wait}
FROM batch CROSS JOIN waits AS w ON w.execution_id = batch.id;
