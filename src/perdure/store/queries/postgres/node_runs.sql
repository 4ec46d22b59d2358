-- Node runs and waits.

-- name: node_runs_of
-- rows: id uuid
-- returns: {node_run}
WITH {batch}
SELECT {node_run}
FROM batch CROSS JOIN LATERAL (SELECT * FROM node_runs AS x WHERE x.execution_id = batch.id OFFSET 0) AS r;

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
FROM batch CROSS JOIN LATERAL (
    SELECT *
    FROM node_runs AS x
    WHERE
        x.execution_id = batch.source
        AND x.node = batch.node
        AND x.ordinal BETWEEN batch.first AND batch.last
        AND x.label = batch.label
    OFFSET 0
) AS r;

-- name: blobs_reuse
-- rows: execution_id uuid, source uuid
WITH {batch}
INSERT INTO blobs (execution_id, sha256, size)
SELECT r.execution_id, v.sha256, v.size
FROM
    (
        SELECT batch.execution_id
        FROM batch
        WHERE (SELECT 1 FROM blobs AS b WHERE b.execution_id = batch.source LIMIT 1) IS NOT NULL
    ) AS f
    CROSS JOIN LATERAL (SELECT * FROM node_runs AS x WHERE x.execution_id = f.execution_id OFFSET 0) AS r
    CROSS JOIN LATERAL (VALUES (r.input_blob, r.input_size), (r.output_blob, r.output_size)) AS v (sha256, size)
WHERE v.sha256 IS NOT NULL
ON CONFLICT (execution_id, sha256) DO NOTHING;

-- name: node_runs_active
-- rows: id uuid
-- returns: execution_id uuid, node text, ordinal bigint, label text, attempt bigint, status text
WITH {batch}
SELECT r.execution_id, r.node, r.ordinal, r.label, r.attempt, r.status
FROM batch CROSS JOIN LATERAL (SELECT * FROM node_runs AS x WHERE x.execution_id = batch.id OFFSET 0) AS r
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
    node_runs.execution_id = ANY (ARRAY[batch.execution_id])
    AND node_runs.node = batch.node
    AND node_runs.ordinal = batch.ordinal
    AND node_runs.label = batch.label;

-- name: executions_in_flight
-- rows: id uuid
-- returns: id uuid
WITH {batch}
SELECT batch.id
FROM batch CROSS JOIN LATERAL (
    SELECT 1 FROM node_runs AS x WHERE x.execution_id = batch.id AND x.status = 'running' LIMIT 1
) AS r;

-- name: waits_close
-- rows: execution_id uuid, node text, ordinal bigint, label text
WITH {batch}
DELETE FROM waits
USING batch
WHERE
    waits.execution_id = ANY (ARRAY[batch.execution_id])
    AND waits.node = batch.node
    AND waits.ordinal = batch.ordinal
    AND waits.label = batch.label;

-- name: waits_of
-- rows: id uuid
-- returns: {wait}
WITH {batch}
SELECT {wait}
FROM batch CROSS JOIN LATERAL (SELECT * FROM waits AS x WHERE x.execution_id = batch.id OFFSET 0) AS w;
