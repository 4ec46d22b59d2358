-- How many executions were created in each hour, whatever became of them: what statistics over a long time sum.
CREATE TABLE hour_totals (
    workspace text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (workspace, hour)
) WITH (fillfactor = 70);

INSERT INTO hour_totals SELECT workspace, hour, sum(count) FROM hours GROUP BY workspace, hour HAVING sum(count) <> 0;

-- The histograms of durations, whatever became of the executions and what started them: [bucket, count, bucket, count, …] in
-- the order of the buckets, so that statistics over a long time read one row for each period and flow.
CREATE TABLE duration_totals (
    workspace text COLLATE "C" NOT NULL,
    grain text COLLATE "C" NOT NULL CHECK (grain IN ('all', 'day', 'hour')),
    flow text COLLATE "C" NOT NULL,
    period bigint NOT NULL,
    histogram text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, grain, flow, period)
) WITH (fillfactor = 70);

INSERT INTO duration_totals
SELECT
    b.workspace,
    b.grain,
    b.flow,
    b.period,
    '[' || string_agg(CAST(b.bucket AS text) || ',' || CAST(b.count AS text), ',' ORDER BY b.bucket) || ']'
FROM (
    SELECT d.workspace, d.grain, d.flow, d.period, d.bucket, sum(d.count) AS count
    FROM durations AS d
    GROUP BY d.workspace, d.grain, d.flow, d.period, d.bucket
    HAVING sum(d.count) <> 0
) AS b
GROUP BY b.workspace, b.grain, b.flow, b.period;

-- What operations are listed by.
CREATE INDEX operations_by_status ON operations (workspace, status, id);
CREATE INDEX operations_by_action ON operations (workspace, action, id);
