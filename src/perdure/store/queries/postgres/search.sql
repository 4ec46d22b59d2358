-- The index of texts: one of all processes writes it, until its lease is over.

-- name: search_hold
-- returns: holder text
INSERT INTO search_holder AS h (one, holder, until)
VALUES (1, :holder, (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint + :lease::bigint)
ON CONFLICT (one) DO UPDATE
SET holder = excluded.holder, until = excluded.until
WHERE h.holder = excluded.holder OR h.until < (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint
RETURNING h.holder;

-- name: search_release
DELETE FROM search_holder WHERE holder = :holder;

-- name: search_tail_drop
-- rows: workspace text, execution_id uuid
WITH {batch}
DELETE FROM search_tail AS t
USING batch
WHERE t.workspace = ANY (ARRAY[batch.workspace]) AND t.execution_id = batch.execution_id;

-- name: search_members
-- rows: number bigint
-- returns: number bigint, members bytea
WITH {batch}
SELECT s.number, s.members
FROM batch CROSS JOIN LATERAL (SELECT * FROM search_segments AS x WHERE x.number = batch.number OFFSET 0) AS s;

-- name: search_parts
-- rows: segment bigint, part bigint
-- returns: segment bigint, part bigint, grams bytea
WITH {batch}
SELECT p.segment, p.part, p.grams
FROM batch CROSS JOIN LATERAL (
    SELECT * FROM search_parts AS x WHERE x.segment = batch.segment AND x.part = batch.part OFFSET 0
) AS p;

-- name: search_segments_drop
-- rows: number bigint
WITH {batch}
DELETE FROM search_parts AS p
USING batch
WHERE p.segment = ANY (ARRAY[batch.number]);
WITH {batch}
DELETE FROM search_segments AS s
USING batch
WHERE s.number = ANY (ARRAY[batch.number]);

-- Of the tables of executions:

-- name: heads_of
-- rows: id uuid
-- returns: id uuid, input text, input_blob bytea, output text, output_blob bytea, error text
WITH {batch}
SELECT
    p.execution_id, substr(p.input, 1, 2048), p.input_blob, substr(p.output, 1, 2048), p.output_blob,
    substr(p.error, 1, 2048)
FROM batch CROSS JOIN LATERAL (SELECT * FROM payloads AS x WHERE x.execution_id = batch.id OFFSET 0) AS p;

-- name: executions_ended
-- rows: id uuid
-- returns: id uuid
WITH {batch}
SELECT e.id
FROM batch CROSS JOIN LATERAL (SELECT * FROM executions AS x WHERE x.id = batch.id OFFSET 0) AS e
WHERE e.finished_at IS NOT NULL;

-- name: execution_oldest
-- returns: id uuid
SELECT e.id FROM executions AS e WHERE e.id >= '00000000-0000-0000-0000-000000000000'::uuid ORDER BY e.id LIMIT 1;
