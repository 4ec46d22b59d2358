-- Operations: one action on many executions. request: what was asked for, as it is told; plan: how it is carried out. It is
-- collected up to the id "until", and belongs to its holder until free_at.
CREATE TABLE operations (
    id uuid PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL CHECK (action IN ('cancel', 'retry', 'replay', 'tag', 'delete')),
    status text COLLATE "C" NOT NULL CHECK (status IN ('collecting', 'running', 'completed', 'cancelled', 'failed')),
    request text COLLATE "C" NOT NULL,
    plan text COLLATE "C" NOT NULL,
    asked_by text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C",
    request_hash bytea,
    until uuid NOT NULL,
    collected_to uuid,
    total bigint NOT NULL,
    succeeded bigint NOT NULL,
    refused bigint NOT NULL,
    error text COLLATE "C",
    holder text COLLATE "C",
    free_at bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    finished_at bigint
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX operations_by_workspace ON operations (workspace, id);
CREATE UNIQUE INDEX operations_by_key ON operations (workspace, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX operations_open ON operations (free_at, id) WHERE status IN ('collecting', 'running');
CREATE INDEX operations_by_end ON operations (finished_at) WHERE finished_at IS NOT NULL;

-- One row for each execution that an operation concerns.
CREATE TABLE operation_items (
    operation_id uuid NOT NULL,
    n bigint NOT NULL,
    execution_id uuid NOT NULL,
    outcome text COLLATE "C" NOT NULL CHECK (outcome IN ('waiting', 'asked', 'succeeded', 'refused')),
    code text COLLATE "C",
    detail text COLLATE "C",
    result_id uuid,
    at bigint,
    PRIMARY KEY (operation_id, n)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX operation_items_by_outcome ON operation_items (operation_id, outcome, n);
