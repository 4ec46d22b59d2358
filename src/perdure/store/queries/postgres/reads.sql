-- Reads of the API and the engine.

-- name: relatives
-- rows: id uuid
-- returns: id uuid, status text, last_seq bigint
WITH {batch}
SELECT e.id, e.status, e.last_seq
FROM batch CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.id = batch.id OFFSET 0) AS e;

-- name: relatives_below
-- rows: id uuid
-- returns: parent uuid, id uuid, status text, last_seq bigint
WITH {batch}
SELECT e.parent, e.id, e.status, e.last_seq
FROM batch CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.parent = batch.id OFFSET 0) AS e;

-- name: payloads_in
-- rows: workspace text, id uuid
-- returns: {payload}
WITH {batch}
SELECT {payload}
FROM batch
CROSS JOIN LATERAL (SELECT 1 FROM executions AS x WHERE x.id = batch.id AND x.workspace = batch.workspace OFFSET 0) AS e
CROSS JOIN LATERAL (SELECT * FROM payloads AS x WHERE x.execution_id = batch.id OFFSET 0) AS p;

-- name: unfinished_like
-- returns: {record}
SELECT {record}
FROM
    (
        SELECT *
        FROM executions AS x
        WHERE
            x.workspace = :workspace
            AND x.flow = :flow
            AND x.status = :status
            AND x.kind = 'flow'
            AND x.flow_version = :flow_version
        OFFSET 0
    ) AS e
    CROSS JOIN LATERAL (SELECT x.input FROM payloads AS x WHERE x.execution_id = e.id OFFSET 0) AS p
WHERE p.input = :input
ORDER BY e.id DESC
LIMIT 1;

-- name: event_spans
-- returns: seq bigint, last_seq bigint
SELECT v.seq, v.last_seq
FROM executions AS e JOIN events AS v ON v.execution_id = e.id
WHERE
    e.id = :id
    AND e.workspace = :workspace
    AND v.seq >= coalesce(
        (SELECT max(o.seq) FROM events AS o WHERE o.execution_id = :id AND o.seq <= :after::bigint + 1), 0
    )
    AND v.last_seq > :after
    AND (v.kinds & :kinds) <> 0
ORDER BY v.seq
LIMIT :limit;

-- name: event_chunks_at
-- rows: execution_id uuid, seq bigint
-- returns: {chunk}
WITH {batch}
SELECT {chunk}
FROM batch
CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.id = batch.execution_id OFFSET 0) AS e
CROSS JOIN LATERAL (
    SELECT * FROM events AS x WHERE x.execution_id = batch.execution_id AND x.seq = batch.seq OFFSET 0
) AS v;
