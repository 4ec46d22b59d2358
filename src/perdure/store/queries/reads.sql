-- Reads of the API and the engine.

-- name: execution
-- returns: {record}
SELECT {record} FROM executions AS e WHERE e.id = :id AND e.workspace = :workspace;

-- name: execution_by_number
-- returns: {record}
SELECT {record} FROM executions AS e WHERE e.number = :number AND e.workspace = :workspace;

-- name: relatives
-- rows: id uuid
-- returns: id uuid, status text, last_seq bigint
WITH {batch}
SELECT e.id, e.status, e.last_seq
FROM batch CROSS JOIN executions AS e ON e.id = batch.id;

-- name: relatives_below
-- rows: id uuid
-- returns: parent uuid, id uuid, status text, last_seq bigint
WITH {batch}
SELECT e.parent, e.id, e.status, e.last_seq
FROM batch CROSS JOIN executions AS e ON e.parent = batch.id;

-- name: payloads_in
-- rows: workspace text, id uuid
-- returns: {payload}
WITH {batch}
SELECT {payload}
FROM batch
CROSS JOIN executions AS e ON e.id = batch.id AND e.workspace = batch.workspace
CROSS JOIN payloads AS p ON p.execution_id = e.id;

-- name: children
-- returns: {record}
SELECT {record} FROM executions AS e WHERE e.parent = :id AND e.kind = 'flow' AND {+}e.workspace = :workspace ORDER BY e.id;

-- name: unfinished_like
-- returns: {record}
SELECT {record}
FROM executions AS e CROSS JOIN payloads AS p ON p.execution_id = e.id
WHERE
    e.workspace = :workspace
    AND e.flow = :flow
    AND e.status = :status
    AND e.kind = 'flow'
    AND e.flow_version = :flow_version
    AND p.input = :input
ORDER BY e.id DESC
LIMIT 1;

-- name: queue_place
-- returns: queue text, ahead bigint
SELECT
    q.queue,
    (SELECT count(*) FROM queue AS o WHERE o.queue = q.queue AND o.workspace = q.workspace AND (o.rank, o.execution_id) < (q.rank, q.execution_id))
FROM queue AS q
WHERE q.execution_id = :id AND q.workspace = :workspace;

-- name: start_due
-- returns: due_at bigint
SELECT t.due_at
FROM executions AS e CROSS JOIN timers AS t ON t.execution_id = e.id
WHERE e.id = :id AND e.workspace = :workspace AND t.kind = 'start';

-- name: slot_of
-- returns: limit_key text, max_held bigint, held bigint, ahead bigint
SELECT
    s.limit_key,
    s.max_held,
    (SELECT count(*) FROM slots AS o WHERE o.workspace = s.workspace AND o.limit_key = s.limit_key AND o.held = 1),
    (
        SELECT count(*)
        FROM slots AS o
        WHERE
            s.held = 0
            AND o.workspace = s.workspace
            AND o.limit_key = s.limit_key
            AND o.held = 0
            AND (o.rank, o.execution_id) < (s.rank, s.execution_id)
    )
FROM slots AS s
WHERE s.execution_id = :id AND s.workspace = :workspace;

-- name: slot_holders
-- returns: id uuid
SELECT s.execution_id
FROM slots AS s
WHERE s.workspace = :workspace AND s.limit_key = :limit_key AND s.held = 1
ORDER BY s.rank, s.execution_id
LIMIT :limit;

-- name: node_run
-- returns: {node_run}
SELECT {node_run}
FROM executions AS e CROSS JOIN node_runs AS r ON r.execution_id = e.id
WHERE e.id = :id AND e.workspace = :workspace AND r.node = :node AND r.ordinal = :ordinal AND r.label = :label;

-- name: node_run_list
-- returns: {node_run}
SELECT {node_run}
FROM executions AS e CROSS JOIN node_runs AS r ON r.execution_id = e.id
WHERE
    e.id = :id
    AND e.workspace = :workspace
    AND (r.node, r.ordinal, r.label) > (:after_node, :after_ordinal, :after_label)
ORDER BY r.node, r.ordinal, r.label
LIMIT :limit;

-- name: node_run_list_of_node
-- returns: {node_run}
SELECT {node_run}
FROM executions AS e CROSS JOIN node_runs AS r ON r.execution_id = e.id
WHERE
    e.id = :id
    AND e.workspace = :workspace
    AND r.node = :node
    AND (r.ordinal, r.label) > (:after_ordinal, :after_label)
ORDER BY r.ordinal, r.label
LIMIT :limit;

-- name: node_runs_in_status
-- returns: {node_run}
SELECT {node_run}
FROM executions AS e CROSS JOIN node_runs AS r ON r.execution_id = e.id
WHERE e.id = :id AND e.workspace = :workspace AND r.status = :status
ORDER BY r.node, r.ordinal, r.label
LIMIT :limit;

-- name: node_run_summary
-- returns: node text, type text, status text, runs bigint, attempts bigint, duration_us_sum bigint, started_at bigint, finished_at bigint
SELECT
    r.node,
    r.type,
    r.status,
    count(*),
    sum(r.attempt),
    sum(coalesce(r.finished_at - r.started_at, 0)),
    min(r.started_at),
    max(r.finished_at)
FROM executions AS e CROSS JOIN node_runs AS r ON r.execution_id = e.id
WHERE e.id = :id AND e.workspace = :workspace
GROUP BY r.node, r.type, r.status
ORDER BY r.node, r.type, r.status;

-- name: wait_list
-- returns: {wait}
SELECT {wait}
FROM executions AS e CROSS JOIN waits AS w ON w.execution_id = e.id
WHERE e.id = :id AND e.workspace = :workspace
ORDER BY w.node, w.ordinal, w.label;

-- name: event_spans
-- returns: seq bigint, last_seq bigint
SELECT v.seq, v.last_seq
FROM executions AS e CROSS JOIN events AS v ON v.execution_id = e.id
WHERE
    e.id = :id
    AND e.workspace = :workspace
    AND v.seq >= coalesce((SELECT max(o.seq) FROM events AS o WHERE o.execution_id = :id AND o.seq <= :after + 1), 0)
    AND v.last_seq > :after
    AND (v.kinds & :kinds) <> 0
ORDER BY v.seq
LIMIT :limit;

-- name: event_chunks
-- returns: {chunk}
SELECT {chunk}
FROM executions AS e CROSS JOIN events AS v ON v.execution_id = e.id
WHERE e.id = :id AND v.seq >= :first AND v.seq <= :last AND (v.kinds & :kinds) <> 0
ORDER BY v.seq;

-- name: event_chunks_at
-- rows: execution_id uuid, seq bigint
-- returns: {chunk}
WITH {batch}
SELECT {chunk}
FROM batch
CROSS JOIN executions AS e ON e.id = batch.execution_id
CROSS JOIN events AS v ON v.execution_id = batch.execution_id AND v.seq = batch.seq;
