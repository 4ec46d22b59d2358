-- History: what lists look executions up by besides what they could so far.

-- How many pairs of decimal digits the microseconds from creation to end have: 3 is less than a second, 4 less than 100 s.
-- Within each class the ids are in order, and a time of start or end lies so close behind the time in the id.
ALTER TABLE executions ADD COLUMN lag bigint;
UPDATE executions
SET lag = (length(CAST(finished_at - created_at AS text)) + 1) / 2
WHERE finished_at IS NOT NULL;

CREATE INDEX executions_by_lag ON executions (workspace, lag, id) WHERE kind = 'flow' AND lag IS NOT NULL;

CREATE INDEX executions_by_trigger_id ON executions (workspace, trigger_kind, trigger_id, id)
WHERE kind = 'flow' AND trigger_id IS NOT NULL;

-- The index of texts: which trigrams stand in which groups of executions. It can be emptied at any time, and is made anew.
-- tail: executions whose texts are not in a segment yet, or have changed since.
CREATE TABLE search_state (name text COLLATE "C" PRIMARY KEY, value text COLLATE "C" NOT NULL);

CREATE TABLE search_holder (one bigint PRIMARY KEY CHECK (one = 1), holder text COLLATE "C" NOT NULL, until bigint NOT NULL);

CREATE TABLE search_tail (
    workspace text COLLATE "C" NOT NULL,
    execution_id uuid NOT NULL,
    PRIMARY KEY (workspace, execution_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE search_segments (
    number bigint PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    first_id uuid NOT NULL,
    last_id uuid NOT NULL,
    members bytea NOT NULL
);

CREATE INDEX search_segments_by_workspace ON search_segments (workspace, number, first_id, last_id);
CREATE INDEX search_segments_by_last ON search_segments (last_id);

CREATE TABLE search_parts (
    segment bigint NOT NULL,
    part bigint NOT NULL,
    grams bytea NOT NULL,
    PRIMARY KEY (segment, part)
);

-- How long executions took that ended: how many in each bucket of a log-linear histogram (perdure/base/histogram.py). grain:
-- all of them, a day or an hour of creation (period counts them since 1970); flow '' is all flows, the only one by hour.
ALTER TABLE counter_deltas ADD COLUMN bucket bigint;

CREATE TABLE durations (
    workspace text COLLATE "C" NOT NULL,
    grain text COLLATE "C" NOT NULL CHECK (grain IN ('all', 'day', 'hour')),
    flow text COLLATE "C" NOT NULL,
    period bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    trigger_kind text COLLATE "C" NOT NULL,
    bucket bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (workspace, grain, flow, period, status, trigger_kind, bucket)
) WITH (fillfactor = 70);
