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

-- name: search_places
-- rows: number bigint
-- returns: number bigint, volume bigint, place bigint
WITH {batch}
SELECT s.number, s.volume, s.place
FROM batch CROSS JOIN LATERAL (SELECT * FROM search_segments AS x WHERE x.number = batch.number OFFSET 0) AS s;

-- name: search_parts
-- rows: volume bigint, part bigint
-- returns: volume bigint, part bigint, grams bytea
WITH {batch}
SELECT p.volume, p.part, p.grams
FROM batch CROSS JOIN LATERAL (
    SELECT * FROM search_parts AS x WHERE x.volume = batch.volume AND x.part = batch.part OFFSET 0
) AS p;

-- name: search_parts_between
-- rows: volume bigint, first bigint, last bigint
-- returns: volume bigint, part bigint, grams bytea
WITH {batch}
SELECT p.volume, p.part, p.grams
FROM batch CROSS JOIN LATERAL (
    SELECT * FROM search_parts AS x WHERE x.volume = batch.volume AND x.part BETWEEN batch.first AND batch.last OFFSET 0
) AS p;

-- name: search_segments_move
-- rows: number bigint, volume bigint, place bigint
WITH {batch}
UPDATE search_segments AS s
SET volume = batch.volume, place = batch.place
FROM batch
WHERE s.number = ANY (ARRAY[batch.number]);

-- name: search_volumes_used
-- rows: volume bigint
-- returns: volume bigint
WITH {batch}
SELECT batch.volume
FROM batch CROSS JOIN LATERAL (SELECT 1 FROM search_segments AS x WHERE x.volume = batch.volume LIMIT 1) AS s;

-- name: search_segments_drop
-- rows: number bigint
WITH {batch}
DELETE FROM search_segments AS s
USING batch
WHERE s.number = ANY (ARRAY[batch.number]);

-- name: search_parts_drop
-- rows: volume bigint
WITH {batch}
DELETE FROM search_parts AS p
USING batch
WHERE p.volume = ANY (ARRAY[batch.volume]);

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
