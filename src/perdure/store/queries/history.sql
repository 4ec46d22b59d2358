-- What every commit leaves: events, the feed, counters; and the blobs that values refer to.

-- name: events_put
-- rows: execution_id uuid, seq bigint, last_seq bigint, at bigint, kinds bigint, body text
INSERT INTO events {insert};

-- name: feed_put
-- rows: writer bigint, n bigint, at bigint, entries text
INSERT INTO feed {insert};

-- name: feed_end
-- returns: writer bigint, n bigint
SELECT f.writer, max(f.n) FROM feed AS f GROUP BY f.writer;

-- A writer's numbers have no gaps, but the oldest may be gone.
-- name: feed_after
-- rows: writer bigint, n bigint, most bigint
-- returns: writer bigint, n bigint, entries text, at bigint
WITH {batch}
SELECT f.writer, f.n, f.entries, f.at
FROM batch
CROSS JOIN feed AS f ON f.writer = batch.writer AND f.n > batch.n
    AND f.n < batch.most + (SELECT min(l.n) FROM feed AS l WHERE l.writer = batch.writer AND l.n > batch.n)
ORDER BY f.writer, f.n;

-- name: feed_sizes
-- rows: writer bigint, n bigint, most bigint
-- returns: writer bigint, n bigint, size bigint
WITH {batch}
SELECT f.writer, f.n, octet_length(f.entries)
FROM batch
CROSS JOIN feed AS f ON f.writer = batch.writer AND f.n > batch.n
    AND f.n < batch.most + (SELECT min(l.n) FROM feed AS l WHERE l.writer = batch.writer AND l.n > batch.n)
ORDER BY f.writer, f.n;

-- name: feed_stale
-- returns: writer bigint, n bigint
SELECT f.writer, f.n
FROM feed AS f
WHERE f.at < :before AND f.n < (SELECT max(l.n) FROM feed AS l WHERE l.writer = f.writer)
ORDER BY f.writer, f.n
LIMIT :limit;

-- name: feed_drop
-- rows: writer bigint, n bigint
WITH {batch}
DELETE FROM feed WHERE (writer, n) IN (SELECT batch.writer, batch.n FROM batch);

-- name: counter_deltas_put
-- rows: workspace text, flow text, status text, trigger_kind text, hour bigint, bucket bigint, delta bigint
INSERT INTO counter_deltas {insert};

-- name: counter_deltas_sum
-- returns: workspace text, flow text, status text, trigger_kind text, hour bigint, bucket bigint, delta bigint, last bigint, count bigint
SELECT d.workspace, d.flow, d.status, d.trigger_kind, d.hour, d.bucket, sum(d.delta), max(d.n), count(*)
FROM (SELECT * FROM counter_deltas ORDER BY n LIMIT :limit) AS d
GROUP BY d.workspace, d.flow, d.status, d.trigger_kind, d.hour, d.bucket;

-- name: counter_deltas_drop
DELETE FROM counter_deltas WHERE n <= :last;

-- name: counters_add
-- rows: workspace text, flow text, status text, trigger_kind text, hour bigint, count bigint
INSERT INTO counters {insert}
ON CONFLICT (workspace, flow, status, trigger_kind, hour) DO UPDATE SET count = counters.count + excluded.count;

-- name: hours_add
-- rows: workspace text, status text, trigger_kind text, hour bigint, count bigint
INSERT INTO hours {insert}
ON CONFLICT (workspace, hour, status, trigger_kind) DO UPDATE SET count = hours.count + excluded.count;

-- name: hour_totals_add
-- rows: workspace text, hour bigint, count bigint
INSERT INTO hour_totals {insert}
ON CONFLICT (workspace, hour) DO UPDATE SET count = hour_totals.count + excluded.count;

-- name: days_add
-- rows: workspace text, flow text, status text, trigger_kind text, day bigint, count bigint
INSERT INTO days {insert}
ON CONFLICT (workspace, flow, status, trigger_kind, day) DO UPDATE SET count = days.count + excluded.count;

-- name: totals_add
-- rows: workspace text, flow text, status text, trigger_kind text, count bigint
INSERT INTO totals {insert}
ON CONFLICT (workspace, flow, status, trigger_kind) DO UPDATE SET count = totals.count + excluded.count;

-- name: durations_add
-- rows: workspace text, grain text, flow text, period bigint, status text, trigger_kind text, bucket bigint, count bigint
INSERT INTO durations {insert}
ON CONFLICT (workspace, grain, flow, period, status, trigger_kind, bucket)
DO UPDATE SET count = durations.count + excluded.count;

-- name: duration_totals_of
-- rows: workspace text, grain text, flow text, period bigint
-- returns: workspace text, grain text, flow text, period bigint, histogram text
WITH {batch}
SELECT d.workspace, d.grain, d.flow, d.period, d.histogram
FROM batch CROSS JOIN duration_totals AS d ON d.workspace = batch.workspace AND d.grain = batch.grain
    AND d.flow = batch.flow AND d.period = batch.period;

-- name: duration_totals_put
-- rows: workspace text, grain text, flow text, period bigint, histogram text
INSERT INTO duration_totals {insert}
ON CONFLICT (workspace, grain, flow, period) DO UPDATE SET histogram = excluded.histogram;

-- name: duration_totals_drop
-- rows: workspace text, grain text, flow text, period bigint
WITH {batch}
DELETE FROM duration_totals
WHERE
    (workspace, grain, flow, period) IN (SELECT batch.workspace, batch.grain, batch.flow, batch.period FROM batch);

-- What has come to nothing: every execution passes through a few states, and is deleted in the end.
-- name: counters_drop
-- rows: workspace text, flow text, status text, trigger_kind text, hour bigint
WITH {batch}
DELETE FROM counters
WHERE
    (workspace, flow, status, trigger_kind, hour)
    IN (SELECT batch.workspace, batch.flow, batch.status, batch.trigger_kind, batch.hour FROM batch)
    AND count = 0;

-- name: hours_drop
-- rows: workspace text, status text, trigger_kind text, hour bigint
WITH {batch}
DELETE FROM hours
WHERE
    (workspace, status, trigger_kind, hour)
    IN (SELECT batch.workspace, batch.status, batch.trigger_kind, batch.hour FROM batch)
    AND count = 0;

-- name: hour_totals_drop
-- rows: workspace text, hour bigint
WITH {batch}
DELETE FROM hour_totals WHERE (workspace, hour) IN (SELECT batch.workspace, batch.hour FROM batch) AND count = 0;

-- name: days_drop
-- rows: workspace text, flow text, status text, trigger_kind text, day bigint
WITH {batch}
DELETE FROM days
WHERE
    (workspace, flow, status, trigger_kind, day)
    IN (SELECT batch.workspace, batch.flow, batch.status, batch.trigger_kind, batch.day FROM batch)
    AND count = 0;

-- name: totals_drop
-- rows: workspace text, flow text, status text, trigger_kind text
WITH {batch}
DELETE FROM totals
WHERE
    (workspace, flow, status, trigger_kind)
    IN (SELECT batch.workspace, batch.flow, batch.status, batch.trigger_kind FROM batch)
    AND count = 0;

-- name: durations_drop
-- rows: workspace text, grain text, flow text, period bigint, status text, trigger_kind text, bucket bigint
WITH {batch}
DELETE FROM durations
WHERE
    (workspace, grain, flow, period, status, trigger_kind, bucket)
    IN (SELECT batch.workspace, batch.grain, batch.flow, batch.period, batch.status, batch.trigger_kind, batch.bucket FROM batch)
    AND count = 0;

-- name: blobs_put
-- rows: execution_id uuid, sha256 bytea, size bigint
INSERT INTO blobs {insert} ON CONFLICT (execution_id, sha256) DO NOTHING;

-- name: measure
-- returns: value bigint
SELECT s.value FROM measures AS s WHERE s.name = :name;

-- name: measure_put
INSERT INTO measures (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: keys_stale
-- returns: workspace text, key text
SELECT k.workspace, k.key FROM idempotency AS k WHERE k.created_at < :before ORDER BY k.created_at LIMIT :limit;

-- name: keys_drop
-- rows: workspace text, key text
WITH {batch}
DELETE FROM idempotency WHERE (workspace, key) IN (SELECT batch.workspace, batch.key FROM batch);
