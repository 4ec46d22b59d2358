-- The feed, counters, and what is told by the writers of themselves.

-- name: writer_open
-- returns: number bigint, session bigint, commits bigint, n bigint
INSERT INTO writers (session, commits, n, at)
VALUES (1, 0, 0, extract(EPOCH FROM clock_timestamp()) * 1000000)
RETURNING number, session, commits, n;

-- Waits for whatever an older session of the same writer has begun to commit, and fences it off.
-- name: writer_resume
-- returns: number bigint, session bigint, commits bigint, n bigint
UPDATE writers SET session = session + 1 WHERE number = :number RETURNING number, session, commits, n;

-- An older session violates NOT NULL. A writer that was forgotten because it was silent for long comes back.
-- name: writer_mark
INSERT INTO writers AS w (number, session, commits, n, at)
VALUES (:number, :session, :commits, :n, extract(EPOCH FROM clock_timestamp()) * 1000000)
ON CONFLICT (number) DO UPDATE
SET
    commits = CASE WHEN w.session = excluded.session THEN excluded.commits END,
    n = excluded.n,
    at = excluded.at;

-- name: writer_sessions_end
-- returns: is_ended bool
SELECT pg_terminate_backend(old.pid)
FROM (
    SELECT a.pid
    FROM pg_stat_activity AS a
    WHERE a.application_name = :name AND a.usename = current_user AND a.pid <> pg_backend_pid()
    OFFSET 0
) AS old;

-- name: feed_end
-- returns: writer bigint, n bigint
SELECT w.number, w.n FROM writers AS w;

-- name: feed_after
-- rows: writer bigint, n bigint, most bigint
-- returns: writer bigint, n bigint, entries text, at bigint
WITH {batch}
SELECT f.writer, f.n, f.entries, f.at
FROM batch
CROSS JOIN LATERAL (
    SELECT * FROM feed AS l WHERE l.writer = batch.writer AND l.n > batch.n ORDER BY l.n LIMIT batch.most
) AS f
ORDER BY f.writer, f.n;

-- name: feed_sizes
-- rows: writer bigint, n bigint, most bigint
-- returns: writer bigint, n bigint, size bigint
WITH {batch}
SELECT f.writer, f.n, octet_length(f.entries)
FROM batch
CROSS JOIN LATERAL (
    SELECT * FROM feed AS l WHERE l.writer = batch.writer AND l.n > batch.n ORDER BY l.n LIMIT batch.most
) AS f
ORDER BY f.writer, f.n;

-- Writers that were silent for as long as the feed reaches back, and for a day, are forgotten on the way.
-- name: feed_stale
-- returns: writer bigint, n bigint
DELETE FROM writers
WHERE at < least(
    :before,
    extract(EPOCH FROM clock_timestamp()) * 1000000 - CASE WHEN n = 0 THEN 86400000000 ELSE :writers_kept END
)
RETURNING number;
SELECT f.writer, f.n
FROM feed AS f
WHERE f.at < :before AND NOT EXISTS (SELECT 1 FROM writers AS w WHERE w.number = f.writer AND w.n = f.n)
ORDER BY f.at, f.writer, f.n
LIMIT :limit;

-- name: feed_drop
-- rows: writer bigint, n bigint
WITH {batch}
DELETE FROM feed AS f
USING batch
WHERE f.writer = ANY (ARRAY[batch.writer]) AND f.n = batch.n;

-- name: counter_deltas_sum
-- returns: workspace text, flow text, status text, trigger_kind text, hour bigint, bucket bigint, delta bigint, last bigint, count bigint
WITH gone AS (
    DELETE FROM counter_deltas
    WHERE n = ANY (ARRAY(SELECT d.n FROM counter_deltas AS d ORDER BY d.n LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING workspace, flow, status, trigger_kind, hour, bucket, delta, n
)
SELECT g.workspace, g.flow, g.status, g.trigger_kind, g.hour, g.bucket, sum(g.delta), max(g.n), count(*)
FROM gone AS g
GROUP BY g.workspace, g.flow, g.status, g.trigger_kind, g.hour, g.bucket
ORDER BY g.workspace, g.flow, g.status, g.trigger_kind, g.hour, g.bucket;

-- name: counter_deltas_drop
-- nothing: they go as they are summed, so that two who fold do not meet

-- name: counters_drop
-- rows: workspace text, flow text, status text, trigger_kind text, hour bigint
WITH {batch}
DELETE FROM counters AS c
USING batch
WHERE
    c.workspace = ANY (ARRAY[batch.workspace])
    AND c.flow = ANY (ARRAY[batch.flow])
    AND c.status = ANY (ARRAY[batch.status])
    AND c.trigger_kind = ANY (ARRAY[batch.trigger_kind])
    AND c.hour = ANY (ARRAY[batch.hour])
    AND c.count = 0;

-- name: hours_drop
-- rows: workspace text, status text, trigger_kind text, hour bigint
WITH {batch}
DELETE FROM hours AS c
USING batch
WHERE
    c.workspace = ANY (ARRAY[batch.workspace])
    AND c.status = ANY (ARRAY[batch.status])
    AND c.trigger_kind = ANY (ARRAY[batch.trigger_kind])
    AND c.hour = ANY (ARRAY[batch.hour])
    AND c.count = 0;

-- name: hour_totals_drop
-- rows: workspace text, hour bigint
WITH {batch}
DELETE FROM hour_totals AS c
USING batch
WHERE c.workspace = ANY (ARRAY[batch.workspace]) AND c.hour = ANY (ARRAY[batch.hour]) AND c.count = 0;

-- name: days_drop
-- rows: workspace text, flow text, status text, trigger_kind text, day bigint
WITH {batch}
DELETE FROM days AS c
USING batch
WHERE
    c.workspace = ANY (ARRAY[batch.workspace])
    AND c.flow = ANY (ARRAY[batch.flow])
    AND c.status = ANY (ARRAY[batch.status])
    AND c.trigger_kind = ANY (ARRAY[batch.trigger_kind])
    AND c.day = ANY (ARRAY[batch.day])
    AND c.count = 0;

-- name: totals_drop
-- rows: workspace text, flow text, status text, trigger_kind text
WITH {batch}
DELETE FROM totals AS c
USING batch
WHERE
    c.workspace = ANY (ARRAY[batch.workspace])
    AND c.flow = ANY (ARRAY[batch.flow])
    AND c.status = ANY (ARRAY[batch.status])
    AND c.trigger_kind = ANY (ARRAY[batch.trigger_kind])
    AND c.count = 0;

-- name: durations_drop
-- rows: workspace text, grain text, flow text, period bigint, status text, trigger_kind text, bucket bigint
WITH {batch}
DELETE FROM durations AS c
USING batch
WHERE
    c.workspace = ANY (ARRAY[batch.workspace])
    AND c.grain = ANY (ARRAY[batch.grain])
    AND c.flow = ANY (ARRAY[batch.flow])
    AND c.period = ANY (ARRAY[batch.period])
    AND c.status = ANY (ARRAY[batch.status])
    AND c.trigger_kind = ANY (ARRAY[batch.trigger_kind])
    AND c.bucket = ANY (ARRAY[batch.bucket])
    AND c.count = 0;

-- name: duration_totals_of
-- rows: workspace text, grain text, flow text, period bigint
-- returns: workspace text, grain text, flow text, period bigint, histogram text
WITH {batch}
SELECT d.workspace, d.grain, d.flow, d.period, d.histogram
FROM batch
CROSS JOIN LATERAL (
    SELECT *
    FROM duration_totals AS l
    WHERE l.workspace = batch.workspace AND l.grain = batch.grain AND l.flow = batch.flow AND l.period = batch.period
    OFFSET 0
) AS d;

-- name: duration_totals_drop
-- rows: workspace text, grain text, flow text, period bigint
WITH {batch}
DELETE FROM duration_totals AS d
USING batch
WHERE
    d.workspace = ANY (ARRAY[batch.workspace])
    AND d.grain = ANY (ARRAY[batch.grain])
    AND d.flow = ANY (ARRAY[batch.flow])
    AND d.period = ANY (ARRAY[batch.period]);

-- name: measure_put
INSERT INTO measures AS s (name, value)
VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = greatest(s.value, excluded.value);
