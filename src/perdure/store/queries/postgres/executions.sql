-- Executions and payloads.
--
-- A plan that was made for an empty table must still be the right one for millions of rows, so a planner is left no
-- choice: the batch always drives. In a query that is LATERAL with a lock, or with OFFSET 0. In a change it is
-- id = ANY (ARRAY[batch.id]): an index can follow that, yet no walk through a whole index serves it.

-- name: executions_put
-- rows: id uuid, workspace text, namespace text, flow text, flow_version bigint, status text, reason text
-- rows: priority bigint, queue text, tags text, trigger_kind text, trigger_id text, trigger_context text
-- rows: parent uuid, parent_node text, parent_ordinal bigint, parent_attempt bigint, root uuid, depth bigint
-- rows: replay_of uuid, idempotency_key text, concurrency_key text, start_claims text, max_recoveries bigint
-- rows: worker text, epoch bigint, last_seq bigint, has_cleanup bigint, created_at bigint, start_at bigint
-- rows: queued_at bigint, started_at bigint, finished_at bigint, updated_at bigint, deadline_at bigint
-- rows: kind text, parent_label text, lag bigint
-- returns: id uuid, number bigint
INSERT INTO executions {insert} RETURNING id, number;

-- name: executions_numbers
-- rows: id uuid
-- returns: id uuid, number bigint
-- nothing: executions_put tells them

-- name: payloads_end
-- rows: execution_id uuid, output text, output_blob bytea, output_size bigint, error text
WITH {batch}
UPDATE payloads
SET
    output = coalesce(batch.output, payloads.output),
    output_blob = coalesce(batch.output_blob, payloads.output_blob),
    output_size = coalesce(batch.output_size, payloads.output_size),
    error = coalesce(batch.error, payloads.error)
FROM batch
WHERE payloads.execution_id = ANY (ARRAY[batch.execution_id]);

-- name: standings
-- rows: id uuid
-- returns: {standing}
WITH {batch}
SELECT {standing}
FROM batch CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.id = batch.id FOR UPDATE) AS e;

-- name: records
-- rows: id uuid
-- returns: {record}
WITH {batch}
SELECT {record}
FROM batch CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.id = batch.id OFFSET 0) AS e;

-- name: records_free
-- rows: id uuid
-- returns: {record}
WITH {batch}
SELECT {record}
FROM batch CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.id = batch.id FOR UPDATE SKIP LOCKED) AS e;

-- name: payloads
-- rows: id uuid
-- returns: {payload}
WITH {batch}
SELECT {payload}
FROM batch CROSS JOIN LATERAL (SELECT * FROM payloads AS x WHERE x.execution_id = batch.id OFFSET 0) AS p;

-- name: children_started
-- rows: parent uuid, node text, ordinal bigint, label text, attempt bigint
-- returns: parent uuid, node text, ordinal bigint, label text, attempt bigint, id uuid, number bigint, status text, reason text, epoch bigint, last_seq bigint
WITH {batch}
SELECT
    e.parent, e.parent_node, e.parent_ordinal, e.parent_label, e.parent_attempt, e.id, e.number, e.status, e.reason, e.epoch,
    e.last_seq
FROM batch CROSS JOIN LATERAL (
    SELECT *
    FROM executions AS x
    WHERE
        x.parent = batch.parent
        AND x.parent_node = batch.node
        AND x.parent_ordinal = batch.ordinal
        AND x.parent_label = batch.label
        AND x.parent_attempt = batch.attempt
    OFFSET 0
) AS e;

-- name: children_unfinished
-- rows: id uuid
-- returns: {standing}
WITH {batch}
SELECT {standing}
FROM batch CROSS JOIN LATERAL (
    SELECT * FROM executions AS x WHERE x.parent = batch.id AND x.finished_at IS NULL FOR UPDATE
) AS e;

-- name: owned
-- rows: id uuid, epoch bigint, status text
-- returns: {standing}
WITH {batch}
SELECT {standing}
FROM batch CROSS JOIN LATERAL (
    SELECT *
    FROM executions AS x
    WHERE x.id = batch.id AND x.epoch = batch.epoch AND x.status = batch.status AND x.worker IS NOT NULL
    FOR UPDATE
) AS e;

-- name: executions_touch
-- rows: id uuid, number bigint, events bigint, recoveries bigint, crashes bigint, updated_at bigint
WITH {batch}
UPDATE executions
SET
    last_seq = last_seq + batch.events,
    recoveries = batch.recoveries,
    crashes = batch.crashes,
    updated_at = batch.updated_at
FROM batch
WHERE executions.id = ANY (ARRAY[batch.id]);

-- name: executions_move
-- rows: id uuid, number bigint, status text, reason text, worker text, events bigint, recoveries bigint, crashes bigint, started_at bigint, finished_at bigint, updated_at bigint
WITH {batch}
UPDATE executions
SET
    status = batch.status,
    reason = batch.reason,
    worker = batch.worker,
    last_seq = last_seq + batch.events,
    recoveries = batch.recoveries,
    crashes = batch.crashes,
    started_at = coalesce(batch.started_at, executions.started_at),
    finished_at = batch.finished_at,
    lag = (length(CAST(batch.finished_at - executions.created_at AS text)) + 1) / 2,
    updated_at = batch.updated_at
FROM batch
WHERE executions.id = ANY (ARRAY[batch.id]);

-- name: executions_queue
-- rows: id uuid, number bigint, at bigint
WITH {batch}
UPDATE executions
SET
    status = 'queued',
    reason = NULL,
    start_claims = NULL,
    queued_at = batch.at,
    updated_at = batch.at,
    last_seq = last_seq + 1
FROM batch
WHERE executions.id = ANY (ARRAY[batch.id]);

-- name: executions_hold
-- rows: id uuid, number bigint, reason text, start_claims text, at bigint
WITH {batch}
UPDATE executions
SET
    reason = batch.reason,
    start_claims = batch.start_claims,
    updated_at = batch.at
FROM batch
WHERE executions.id = ANY (ARRAY[batch.id]);

-- name: executions_claim
-- rows: id uuid, number bigint, status text, worker text, events bigint, recoveries bigint, at bigint
WITH {batch}
UPDATE executions
SET
    status = batch.status,
    reason = CASE WHEN batch.status = 'running' THEN NULL ELSE executions.reason END,
    worker = batch.worker,
    epoch = epoch + 1,
    last_seq = last_seq + batch.events,
    recoveries = batch.recoveries,
    started_at = coalesce(executions.started_at, batch.at),
    updated_at = batch.at
FROM batch
WHERE executions.id = ANY (ARRAY[batch.id]);

-- name: executions_told
-- rows: id uuid, number bigint, events bigint
WITH {batch}
UPDATE executions
SET last_seq = last_seq + batch.events
FROM batch
WHERE executions.id = ANY (ARRAY[batch.id]);

-- What somebody has locked, perhaps a session of the dead worker itself, is found again: its owner is lost by then.
-- name: standings_of_workers
-- rows: worker text
-- returns: {standing}
WITH {batch}
SELECT {standing}
FROM batch CROSS JOIN LATERAL (
    SELECT * FROM executions AS x WHERE x.worker = batch.worker FOR UPDATE SKIP LOCKED
) AS e;

-- name: standings_of_others
-- returns: {standing}
SELECT {standing}
FROM executions AS e
WHERE e.worker > '' AND e.worker <> :worker
FOR UPDATE;
