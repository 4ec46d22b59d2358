-- Contents of large values, by each execution that refers to one: what nothing refers to any more can be removed.

DROP TABLE blobs;

CREATE TABLE blobs (
    execution_id uuid NOT NULL,
    sha256 bytea NOT NULL,
    size bigint NOT NULL,
    PRIMARY KEY (execution_id, sha256)
);

INSERT INTO blobs (execution_id, sha256, size)
SELECT p.execution_id, p.input_blob, p.input_size FROM payloads AS p WHERE p.input_blob IS NOT NULL
UNION ALL
SELECT p.execution_id, p.output_blob, p.output_size FROM payloads AS p WHERE p.output_blob IS NOT NULL
UNION ALL
SELECT r.execution_id, r.input_blob, r.input_size FROM node_runs AS r WHERE r.input_blob IS NOT NULL
UNION ALL
SELECT r.execution_id, r.output_blob, r.output_size FROM node_runs AS r WHERE r.output_blob IS NOT NULL
ON CONFLICT DO NOTHING;

CREATE INDEX blobs_by_content ON blobs (sha256);
CREATE INDEX artifacts_by_content ON artifacts (sha256);

-- By which the store knows a folder of contents as its own.
INSERT INTO measures (name, value) VALUES ('store_id', (random() * 9000000000000000)::bigint) ON CONFLICT DO NOTHING;

-- put_at: when somebody last put the content, by the clock of the database; once it is old, and nothing refers to the
-- content, that is removed.
ALTER TABLE blob_contents RENAME COLUMN created_at TO put_at;
ALTER TABLE blob_chunks ADD COLUMN put_at bigint NOT NULL DEFAULT 0;

-- Whether nothing stands in a week's partitions, as far as can be seen without a lock.
CREATE FUNCTION week_is_empty(week bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    filled boolean;
BEGIN
    FOREACH parent IN ARRAY ARRAY['executions', 'payloads', 'node_runs', 'events']
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', partition_name(parent, week)) INTO filled;
        IF filled THEN
            RETURN FALSE;
        END IF;
    END LOOP;
    RETURN TRUE;
END
$$;

-- Drops a week's partitions if they are empty; what comes for it afterwards stands in the default ones. Answers whether
-- they are gone. They should be vacuumed before: what is large is not looked through while all wait.
CREATE FUNCTION drop_week(week bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child text;
BEGIN
    -- Whoever holds one of the locks for longer has others wait no longer behind us.
    PERFORM set_config('lock_timeout', '100', TRUE);
    PERFORM pg_advisory_xact_lock(hashtext('perdure.partitions'), hashtext(current_schema()));
    IF to_regclass(partition_name('executions', week)) IS NULL THEN
        RETURN FALSE;
    END IF;
    FOREACH parent IN ARRAY ARRAY['executions', 'payloads', 'node_runs', 'events']
    LOOP
        IF pg_relation_size(to_regclass(partition_name(parent, week))) > 8000000 THEN
            RETURN FALSE;
        END IF;
    END LOOP;
    -- Whoever writes to the week comes by the parents.
    LOCK TABLE ONLY executions, ONLY payloads, ONLY node_runs, ONLY events IN ACCESS EXCLUSIVE MODE;
    IF NOT week_is_empty(week) THEN
        RETURN FALSE;
    END IF;
    FOREACH parent IN ARRAY ARRAY['executions', 'payloads', 'node_runs', 'events']
    LOOP
        child := partition_name(parent, week);
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, child);
        EXECUTE format('DROP TABLE %I', child);
    END LOOP;
    RETURN TRUE;
END
$$;
