-- Executions and all that belongs to one: identified by UUIDv7, times in microseconds, JSON as text.
-- Every text compares byte by byte, as it does in SQLite, whatever the database's own collation is.

CREATE SEQUENCE executions_number;

CREATE TABLE executions (
    id uuid PRIMARY KEY,
    number bigint NOT NULL DEFAULT nextval('executions_number'),
    workspace text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    flow text COLLATE "C" NOT NULL,
    flow_version bigint NOT NULL,
    status text COLLATE "C" NOT NULL CHECK (
        status IN (
            'pending', 'queued', 'running', 'suspended', 'interrupted', 'cancelling',
            'completed', 'failed', 'cancelled', 'timed_out', 'abandoned'
        )
    ),
    reason text COLLATE "C",
    priority bigint NOT NULL,
    queue text COLLATE "C" NOT NULL,
    tags text COLLATE "C" NOT NULL,
    trigger_kind text COLLATE "C" NOT NULL,
    trigger_id text COLLATE "C",
    trigger_context text COLLATE "C",
    parent uuid,
    parent_node text COLLATE "C",
    parent_ordinal bigint,
    parent_attempt bigint,
    root uuid NOT NULL,
    depth bigint NOT NULL,
    replay_of uuid,
    idempotency_key text COLLATE "C",
    concurrency_key text COLLATE "C",
    -- What a pending start still has to ask for, {limit, rate}; NULL once it is queued.
    start_claims text COLLATE "C",
    max_recoveries bigint NOT NULL,
    recoveries bigint NOT NULL DEFAULT 0,
    crashes bigint NOT NULL DEFAULT 0,
    worker text COLLATE "C",
    epoch bigint NOT NULL,
    last_seq bigint NOT NULL,
    has_cleanup bigint NOT NULL CHECK (has_cleanup IN (0, 1)),
    created_at bigint NOT NULL,
    start_at bigint,
    queued_at bigint,
    started_at bigint,
    finished_at bigint,
    updated_at bigint NOT NULL,
    deadline_at bigint,
    -- Nobody owns what has ended, and whatever runs has an owner.
    CHECK (
        CASE
            WHEN status = 'running' THEN worker IS NOT NULL
            WHEN status = 'cancelling' THEN TRUE
            ELSE worker IS NULL
        END
    ),
    CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled', 'timed_out', 'abandoned')))
) PARTITION BY RANGE (id);

ALTER SEQUENCE executions_number OWNED BY executions.number;

CREATE INDEX executions_by_number ON executions (number);
CREATE INDEX executions_by_workspace ON executions (workspace, id);
CREATE INDEX executions_by_status ON executions (workspace, status, id);
CREATE INDEX executions_by_flow ON executions (workspace, flow, status, id);
CREATE INDEX executions_by_namespace ON executions (workspace, namespace, id);
CREATE INDEX executions_by_trigger ON executions (workspace, trigger_kind, id);
-- Not unique across partitions: a child is only started under the row lock of its parent.
CREATE INDEX executions_by_parent ON executions (parent, parent_node, parent_ordinal, parent_attempt, id)
WHERE parent IS NOT NULL;
CREATE INDEX children_by_parent ON executions (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX executions_by_root ON executions (root, id) WHERE depth > 0;
CREATE INDEX executions_by_replay_of ON executions (replay_of, id) WHERE replay_of IS NOT NULL;
CREATE INDEX executions_by_worker ON executions (worker, id) WHERE worker IS NOT NULL;

-- A value is text when it is inline, else the sha-256 of its blob; its size is in bytes.
CREATE TABLE payloads (
    execution_id uuid PRIMARY KEY,
    input text COLLATE "C",
    input_blob bytea,
    input_size bigint NOT NULL,
    output text COLLATE "C",
    output_blob bytea,
    output_size bigint,
    error text COLLATE "C"
) PARTITION BY RANGE (execution_id);

CREATE TABLE node_runs (
    execution_id uuid NOT NULL,
    node text COLLATE "C" NOT NULL,
    ordinal bigint NOT NULL,
    label text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL CHECK (
        status IN (
            'running', 'suspended', 'retrying',
            'completed', 'failed', 'skipped', 'cancelled', 'timed_out', 'orphaned'
        )
    ),
    attempt bigint NOT NULL,
    input text COLLATE "C",
    input_blob bytea,
    input_size bigint,
    output text COLLATE "C",
    output_blob bytea,
    output_size bigint,
    error text COLLATE "C",
    started_at bigint,
    finished_at bigint,
    retry_at bigint,
    wake_at bigint,
    worker text COLLATE "C",
    reused_from uuid,
    interruptions bigint NOT NULL,
    PRIMARY KEY (execution_id, node, ordinal, label)
) PARTITION BY RANGE (execution_id);

-- One row per execution and commit: a JSON array of events numbered seq … last_seq.
-- kinds: 1 it holds logs, 2 it holds others, 3 both.
CREATE TABLE events (
    execution_id uuid NOT NULL,
    seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    at bigint NOT NULL,
    kinds bigint NOT NULL,
    body text COLLATE "C" NOT NULL,
    PRIMARY KEY (execution_id, seq)
) PARTITION BY RANGE (execution_id);

-- Whatever no week was made for.
CREATE TABLE executions_default PARTITION OF executions DEFAULT WITH (fillfactor = 70);
CREATE TABLE payloads_default PARTITION OF payloads DEFAULT WITH (fillfactor = 85);
CREATE TABLE node_runs_default PARTITION OF node_runs DEFAULT WITH (fillfactor = 85);
CREATE TABLE events_default PARTITION OF events DEFAULT;

-- Weeks are counted from Monday, 5 January 1970; the argument is in microseconds.
CREATE FUNCTION week_of(at bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT (at - 345600000000) / 604800000000';

CREATE FUNCTION partition_name(parent text, week bigint) RETURNS text LANGUAGE sql STABLE AS
'SELECT parent || to_char(to_timestamp(week * 604800 + 345600) AT TIME ZONE ''UTC'', ''_YYYYMMDD'')';

-- Makes a week's partitions, with the same bounds for the four tables. Answers whether they are new.
-- A week of which rows stand in a default partition already gets none: they stay there.
CREATE FUNCTION make_week(week bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    first_ms CONSTANT bigint := week * 604800000 + 345600000;
    low CONSTANT uuid := lpad(to_hex(first_ms), 12, '0') || repeat('0', 20);
    high CONSTANT uuid := lpad(to_hex(first_ms + 604800000), 12, '0') || repeat('0', 20);
    parent text;
    child text;
    key text;
    filled integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('perdure.partitions'), hashtext(current_schema()));
    IF to_regclass(partition_name('executions', week)) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    -- In the order in which everybody comes to them. Each is locked for a moment, and everybody waits behind us.
    PERFORM set_config('lock_timeout', '2000', TRUE);
    FOR parent, key, filled IN VALUES
        ('executions', 'id', 70), ('payloads', 'execution_id', 85), ('node_runs', 'execution_id', 85),
        ('events', 'execution_id', 100)
    LOOP
        child := partition_name(parent, week);
        -- To be attached is quicker than to be made as a partition, and does not lock the parent against everybody.
        EXECUTE format(
            'CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS, '
            'CONSTRAINT bounds CHECK (%I >= %L AND %I < %L)) WITH (fillfactor = %s)',
            child, parent, key, low, key, high, filled
        );
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, low, high);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT bounds', child);
    END LOOP;
    RETURN TRUE;
EXCEPTION
    -- Whoever waited for the lock may not see yet what was made meanwhile.
    WHEN check_violation OR duplicate_table THEN RETURN FALSE;
END
$$;

-- One row for each store that was opened. commits: its newest transaction that is in, so that one whose answer was lost
-- is known. session: the connection that may write; an older one that is still alive is refused. n: its last feed row.
CREATE TABLE writers (
    number bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    session bigint NOT NULL,
    commits bigint NOT NULL,
    n bigint NOT NULL,
    at bigint NOT NULL
) WITH (fillfactor = 10);

-- One row per commit that brought events: [[execution id in hex, first seq, last seq, workspace], …].
-- A writer commits one after the other, so its n has no gaps and never appears out of order.
CREATE TABLE feed (
    writer bigint NOT NULL,
    n bigint NOT NULL,
    at bigint NOT NULL,
    entries text COLLATE "C" NOT NULL,
    PRIMARY KEY (writer, n)
);

CREATE INDEX feed_by_age ON feed (at, writer, n);

CREATE TABLE waits (
    execution_id uuid NOT NULL,
    node text COLLATE "C" NOT NULL,
    ordinal bigint NOT NULL,
    label text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    due_at bigint,
    child uuid,
    data text COLLATE "C",
    created_at bigint NOT NULL,
    PRIMARY KEY (execution_id, node, ordinal, label)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE inbox (
    n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    execution_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    data text COLLATE "C" NOT NULL,
    at bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX inbox_by_execution ON inbox (execution_id, n);

-- What can be claimed now; the lowest rank is first. A queue is a line for each workspace, so that none waits for another.
CREATE TABLE queue (
    execution_id uuid PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    rank bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX queue_by_line ON queue (queue, workspace, rank, execution_id);

CREATE TABLE timers (
    execution_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('start', 'wake', 'deadline')),
    due_at bigint NOT NULL,
    PRIMARY KEY (execution_id, kind)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX timers_by_due ON timers (due_at, execution_id, kind);

-- A concurrency limit's holders (held = 1) and those who wait for it (held = 0).
-- leaving: it was told to go because a newer start wants its slot.
CREATE TABLE slots (
    execution_id uuid PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    limit_key text COLLATE "C" NOT NULL,
    max_held bigint NOT NULL,
    held bigint NOT NULL CHECK (held IN (0, 1)),
    rank bigint NOT NULL,
    leaving bigint NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX slots_by_key ON slots (workspace, limit_key, held, rank, execution_id);

-- The theoretical arrival time of the next start under a rate (GCRA, ITU-T I.371).
CREATE TABLE rates (
    workspace text COLLATE "C" NOT NULL,
    rate_key text COLLATE "C" NOT NULL,
    tat bigint NOT NULL,
    PRIMARY KEY (workspace, rate_key)
) WITH (fillfactor = 50);

CREATE TABLE idempotency (
    workspace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    request_hash bytea,
    execution_id uuid NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (workspace, key)
);

CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE tags (
    workspace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    execution_id uuid NOT NULL,
    PRIMARY KEY (workspace, key, value, execution_id)
);

CREATE INDEX tags_by_key ON tags (workspace, key, execution_id);

-- Executions by hour of creation, by day, and in all: commits append deltas, a loop folds them into the three.
CREATE TABLE counter_deltas (
    n bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    flow text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    trigger_kind text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    delta bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE counters (
    workspace text COLLATE "C" NOT NULL,
    flow text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    trigger_kind text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (workspace, flow, status, trigger_kind, hour)
) WITH (fillfactor = 70);

CREATE INDEX counters_by_hour ON counters (workspace, hour);

CREATE TABLE hours (
    workspace text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    trigger_kind text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (workspace, hour, status, trigger_kind)
) WITH (fillfactor = 70);

CREATE TABLE days (
    workspace text COLLATE "C" NOT NULL,
    flow text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    trigger_kind text COLLATE "C" NOT NULL,
    day bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (workspace, flow, status, trigger_kind, day)
) WITH (fillfactor = 70);

CREATE TABLE totals (
    workspace text COLLATE "C" NOT NULL,
    flow text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    trigger_kind text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (workspace, flow, status, trigger_kind)
) WITH (fillfactor = 70);

-- Small facts of the store as a whole.
-- id_skew_us: how far an execution's created_at was ever from the time in its id.
CREATE TABLE measures (
    name text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
);
