-- History: what lists look executions up by besides what they could so far.

-- How many pairs of decimal digits the microseconds from creation to end have: 3 is less than a second, 4 less than 100 s.
-- Within each class the ids are in order, and a time of start or end lies so close behind the time in the id.
ALTER TABLE executions ADD COLUMN lag INTEGER;
UPDATE executions
SET lag = (length(CAST(finished_at - created_at AS TEXT)) + 1) / 2
WHERE finished_at IS NOT NULL;

CREATE INDEX executions_by_lag ON executions (workspace, lag, id) WHERE kind = 'flow' AND lag IS NOT NULL;

CREATE INDEX executions_by_trigger_id ON executions (workspace, trigger_kind, trigger_id, id)
WHERE kind = 'flow' AND trigger_id IS NOT NULL;

DROP INDEX executions_by_worker;
CREATE INDEX executions_by_worker ON executions (worker, id) WHERE worker IS NOT NULL;

-- How long executions took that ended: how many in each bucket of a log-linear histogram (perdure/base/histogram.py). grain:
-- all of them, a day or an hour of creation (period counts them since 1970); flow '' is all flows, the only one by hour.
ALTER TABLE counter_deltas ADD COLUMN bucket INTEGER;

CREATE TABLE durations (
    workspace TEXT NOT NULL,
    grain TEXT NOT NULL CHECK (grain IN ('all', 'day', 'hour')),
    flow TEXT NOT NULL,
    period INTEGER NOT NULL,
    status TEXT NOT NULL,
    trigger_kind TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (workspace, grain, flow, period, status, trigger_kind, bucket)
) STRICT, WITHOUT ROWID;
