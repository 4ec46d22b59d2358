-- The index of texts. SQLite keeps it in a file of its own, PostgreSQL beside the other tables.

-- name: search_state
-- returns: name text, value text
SELECT s.name, s.value FROM search_state AS s;

-- name: search_state_put
-- rows: name text, value text
INSERT INTO search_state {insert} ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- Whether this process may write: one file has one process.
-- name: search_hold
-- returns: holder text
SELECT :holder WHERE :lease > 0;

-- name: search_release
DELETE FROM search_state WHERE name = 'holder' AND value = :holder;

-- name: search_tail_put
-- rows: workspace text, execution_id uuid
INSERT INTO search_tail {insert} ON CONFLICT (workspace, execution_id) DO NOTHING;

-- name: search_tail_drop
-- rows: workspace text, execution_id uuid
WITH {batch}
DELETE FROM search_tail
WHERE (workspace, execution_id) IN (SELECT batch.workspace, batch.execution_id FROM batch);

-- name: search_tail_sizes
-- returns: workspace text, count bigint
SELECT t.workspace, count(*) FROM search_tail AS t GROUP BY t.workspace;

-- name: search_tail
-- returns: execution_id uuid
SELECT t.execution_id FROM search_tail AS t WHERE t.workspace = :workspace ORDER BY t.execution_id LIMIT :limit;

-- name: search_segments_end
-- returns: number bigint
SELECT coalesce(max(s.number), 0) FROM search_segments AS s;

-- name: search_segments_put
-- rows: number bigint, workspace text, first_id uuid, last_id uuid, members bytea, size bigint, volume bigint, place bigint
INSERT INTO search_segments {insert};

-- name: search_parts_put
-- rows: volume bigint, part bigint, grams bytea
INSERT INTO search_parts {insert} ON CONFLICT (volume, part) DO UPDATE SET grams = excluded.grams;

-- name: search_segments
-- returns: number bigint, first_id uuid, last_id uuid
SELECT s.number, s.first_id, s.last_id FROM search_segments AS s WHERE s.workspace = :workspace;

-- name: search_segments_passed
-- returns: number bigint, volume bigint
SELECT s.number, s.volume FROM search_segments AS s WHERE s.last_id < :oldest ORDER BY s.last_id LIMIT :limit;

-- Segments of so many executions that are in no volume with others.
-- name: search_segments_loose
-- returns: number bigint
SELECT s.number
FROM search_segments AS s
WHERE s.workspace = :workspace AND s.size = :size AND s.volume = s.number
ORDER BY s.number
LIMIT :limit;

-- The largest of those that are smaller.
-- name: search_segment_open
-- returns: number bigint, members bytea
SELECT s.number, s.members
FROM search_segments AS s
WHERE s.workspace = :workspace AND s.size < :size AND s.volume = s.number
ORDER BY s.size DESC
LIMIT 1;

-- name: search_places
-- rows: number bigint
-- returns: number bigint, volume bigint, place bigint
WITH {batch}
SELECT s.number, s.volume, s.place
FROM batch CROSS JOIN search_segments AS s ON s.number = batch.number;

-- name: search_members
-- rows: number bigint
-- returns: number bigint, members bytea
WITH {batch}
SELECT s.number, s.members
FROM batch CROSS JOIN search_segments AS s ON s.number = batch.number;

-- name: search_parts
-- rows: volume bigint, part bigint
-- returns: volume bigint, part bigint, grams bytea
WITH {batch}
SELECT p.volume, p.part, p.grams
FROM batch CROSS JOIN search_parts AS p ON p.volume = batch.volume AND p.part = batch.part;

-- name: search_parts_between
-- rows: volume bigint, first bigint, last bigint
-- returns: volume bigint, part bigint, grams bytea
WITH {batch}
SELECT p.volume, p.part, p.grams
FROM batch CROSS JOIN search_parts AS p ON p.volume = batch.volume AND p.part BETWEEN batch.first AND batch.last;

-- name: search_segments_move
-- rows: number bigint, volume bigint, place bigint
WITH {batch}
UPDATE search_segments
SET volume = batch.volume, place = batch.place
FROM batch
WHERE search_segments.number = batch.number;

-- name: search_volumes_used
-- rows: volume bigint
-- returns: volume bigint
WITH {batch}
SELECT batch.volume FROM batch WHERE EXISTS (SELECT 1 FROM search_segments AS s WHERE s.volume = batch.volume);

-- name: search_segments_drop
-- rows: number bigint
WITH {batch}
DELETE FROM search_segments WHERE number IN (SELECT batch.number FROM batch);

-- name: search_parts_drop
-- rows: volume bigint
WITH {batch}
DELETE FROM search_parts WHERE volume IN (SELECT batch.volume FROM batch);

-- name: search_clear
DELETE FROM search_parts;
DELETE FROM search_segments;
DELETE FROM search_tail;
DELETE FROM search_state WHERE name <> 'holder';

-- Of the tables of executions:

-- name: heads_of
-- rows: id uuid
-- returns: id uuid, input text, input_blob bytea, output text, output_blob bytea, error text
WITH {batch}
SELECT
    p.execution_id, substr(p.input, 1, 2048), p.input_blob, substr(p.output, 1, 2048), p.output_blob,
    substr(p.error, 1, 2048)
FROM batch CROSS JOIN payloads AS p ON p.execution_id = batch.id;

-- name: executions_ended
-- rows: id uuid
-- returns: id uuid
WITH {batch}
SELECT e.id
FROM batch CROSS JOIN executions AS e ON e.id = batch.id
WHERE e.finished_at IS NOT NULL;

-- name: executions_older
-- returns: workspace text, id uuid
SELECT e.workspace, e.id FROM executions AS e WHERE e.id < :before AND {+}e.kind = 'flow' ORDER BY e.id DESC LIMIT :limit;

-- name: execution_oldest
-- returns: id uuid
SELECT e.id FROM executions AS e WHERE e.id >= x'00' ORDER BY e.id LIMIT 1;
