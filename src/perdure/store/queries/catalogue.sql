-- Flows, workers, tokens, artifacts.

-- name: flow
-- returns: number bigint, latest bigint, source text, deleted_at bigint, description text
SELECT f.number, f.latest, f.source, f.deleted_at, f.description
FROM flows AS f
WHERE f.workspace = :workspace AND f.id = :id;

-- name: flow_put
INSERT INTO flows (workspace, id, latest, description, source, created_at, updated_at)
VALUES (:workspace, :id, :latest, :description, :source, :at, :at)
ON CONFLICT (workspace, id) DO UPDATE
SET
    latest = excluded.latest,
    description = excluded.description,
    source = excluded.source,
    updated_at = excluded.updated_at,
    deleted_at = NULL;

-- name: flow_change
UPDATE flows
SET latest = :latest, description = :description, source = :source, updated_at = :at, deleted_at = NULL
WHERE workspace = :workspace AND id = :id;

-- name: flow_delete
UPDATE flows SET deleted_at = :at, updated_at = :at WHERE workspace = :workspace AND id = :id;

-- name: flow_in_use
-- returns: id uuid
SELECT e.id
FROM executions AS e
WHERE e.workspace = :workspace AND e.status = :status AND e.flow = :id AND e.kind = 'flow'
LIMIT 1;

-- name: flow_version_by_hash
-- returns: number bigint
SELECT f.number
FROM flow_versions AS f
WHERE f.workspace = :workspace AND f.flow = :id AND f.content_hash = :content_hash;

-- name: flow_version_newest
-- returns: number bigint
SELECT max(f.number) FROM flow_versions AS f WHERE f.workspace = :workspace AND f.flow = :id;

-- name: flow_version_put
INSERT INTO flow_versions (workspace, flow, number, content_hash, document, source_text, media_type, created_at)
VALUES (:workspace, :id, :number, :content_hash, :document, :source_text, :media_type, :at);

-- name: flow_get
-- returns: number bigint, workspace text, id text, latest bigint, description text, source text, created_at bigint, updated_at bigint
SELECT f.number, f.workspace, f.id, f.latest, f.description, f.source, f.created_at, f.updated_at
FROM flows AS f
WHERE f.workspace = :workspace AND f.id = :id AND f.deleted_at IS NULL;

-- name: flow_list
-- returns: number bigint, workspace text, id text, latest bigint, description text, source text, created_at bigint, updated_at bigint
SELECT f.number, f.workspace, f.id, f.latest, f.description, f.source, f.created_at, f.updated_at
FROM flows AS f
WHERE f.workspace = :workspace AND f.id > :after AND f.id < :until AND f.deleted_at IS NULL
ORDER BY f.id
LIMIT :limit;

-- name: flow_version
-- returns: workspace text, flow text, number bigint, content_hash text, document text, source_text text, media_type text, created_at bigint
SELECT v.workspace, v.flow, v.number, v.content_hash, v.document, v.source_text, v.media_type, v.created_at
FROM flow_versions AS v
WHERE v.workspace = :workspace AND v.flow = :id AND v.number = :number;

-- name: flow_version_latest
-- returns: workspace text, flow text, number bigint, content_hash text, document text, source_text text, media_type text, created_at bigint
SELECT v.workspace, v.flow, v.number, v.content_hash, v.document, v.source_text, v.media_type, v.created_at
FROM flows AS f CROSS JOIN flow_versions AS v ON v.workspace = f.workspace AND v.flow = f.id AND v.number = f.latest
WHERE f.workspace = :workspace AND f.id = :id AND f.deleted_at IS NULL;

-- name: flow_version_list
-- returns: workspace text, flow text, number bigint, content_hash text, document text, source_text text, media_type text, created_at bigint
SELECT v.workspace, v.flow, v.number, v.content_hash, v.document, v.source_text, v.media_type, v.created_at
FROM flow_versions AS v
WHERE v.workspace = :workspace AND v.flow = :id AND v.number < :before
ORDER BY v.number DESC
LIMIT :limit;

-- name: workers_put
-- rows: id text, name text, host text, pid bigint, started_at bigint, heartbeat_at bigint, stopped_at bigint
-- rows: queues text, slots bigint, tags text, version text
INSERT INTO workers {insert};

-- name: worker_number
-- returns: number bigint
SELECT k.number FROM workers AS k WHERE k.id = :worker;

-- name: workers_alive
-- rows: id text
-- returns: id text
WITH {batch}
SELECT k.id
FROM batch CROSS JOIN workers AS k ON k.id = batch.id
WHERE k.stopped_at IS NULL;

-- name: sessions_end
-- nothing: a file has one process, which waits for no other

-- The longest lease of the workers that may be alive, so that whoever looks with a shorter one takes nothing from them. One
-- who finds nobody else alive begins anew: those who register wait for each other at the row.
-- name: lease_put
INSERT INTO measures AS s (name, value)
VALUES ('lease', :lease)
ON CONFLICT (name) DO UPDATE SET value = CASE WHEN s.value > excluded.value THEN s.value ELSE excluded.value END;
UPDATE measures
SET value = :lease
WHERE name = 'lease' AND NOT EXISTS (SELECT 1 FROM workers AS k WHERE k.stopped_at IS NULL AND k.id <> :worker);

-- name: workers_stale
-- returns: id text
SELECT k.id
FROM workers AS k
WHERE
    k.stopped_at IS NULL
    AND k.heartbeat_at < :at - max(:lease, coalesce((SELECT s.value FROM measures AS s WHERE s.name = 'lease'), :lease))
ORDER BY k.id
LIMIT :limit;

-- name: workers_stop
-- rows: id text, at bigint
WITH {batch}
UPDATE workers
SET stopped_at = batch.at
FROM batch
WHERE workers.id = batch.id AND workers.stopped_at IS NULL;

-- name: workers_stop_others
UPDATE workers SET stopped_at = :at WHERE stopped_at IS NULL AND id <> :worker;

-- name: workers_gone
-- returns: id text
SELECT k.id
FROM workers AS k
WHERE k.stopped_at < :before AND (SELECT 1 FROM executions AS e WHERE e.worker = k.id LIMIT 1) IS NULL
ORDER BY k.stopped_at
LIMIT :limit;

-- name: workers_drop
-- rows: id text
WITH {batch}
DELETE FROM workers WHERE id IN (SELECT batch.id FROM batch);

-- name: worker_count
-- returns: found bigint
SELECT count(*) FROM workers AS k WHERE k.stopped_at IS NULL;

-- name: worker_list
-- returns: id text, number bigint, name text, host text, pid bigint, started_at bigint, heartbeat_at bigint, stopped_at bigint
-- returns: queues text, slots bigint, tags text, version text, owned bigint
SELECT
    k.id, k.number, k.name, k.host, k.pid, k.started_at, k.heartbeat_at, k.stopped_at, k.queues, k.slots, k.tags, k.version,
    CASE WHEN k.stopped_at IS NULL THEN (SELECT count(*) FROM executions AS e WHERE e.worker = k.id) ELSE 0 END
FROM workers AS k
ORDER BY k.number DESC
LIMIT :limit;

-- name: tokens_put
-- rows: id uuid, name text, sha256 bytea, role text, workspace text, created_at bigint, expires_at bigint
INSERT INTO tokens {insert};

-- name: token_revoked
-- returns: revoked_at bigint
SELECT t.revoked_at FROM tokens AS t WHERE t.id = :id;

-- name: token_revoke
UPDATE tokens SET revoked_at = :at WHERE id = :id AND revoked_at IS NULL;

-- name: token_any
-- returns: one bigint
SELECT 1 FROM tokens AS t LIMIT 1;

-- name: token_by_hash
-- returns: id uuid, name text, sha256 bytea, role text, workspace text, created_at bigint, expires_at bigint, revoked_at bigint
SELECT t.id, t.name, t.sha256, t.role, t.workspace, t.created_at, t.expires_at, t.revoked_at
FROM tokens AS t
WHERE t.sha256 = :sha256;

-- name: token_list
-- returns: id uuid, name text, sha256 bytea, role text, workspace text, created_at bigint, expires_at bigint, revoked_at bigint
SELECT t.id, t.name, t.sha256, t.role, t.workspace, t.created_at, t.expires_at, t.revoked_at
FROM tokens AS t
ORDER BY t.id;

-- name: artifacts_put
-- rows: id uuid, workspace text, execution_id uuid, node text, ordinal bigint, attempt bigint, name text, path text
-- rows: media_type text, size_bytes bigint, sha256 bytea, created_at bigint
INSERT INTO artifacts {insert};

-- name: contents_used
-- rows: sha256 bytea
-- returns: sha256 bytea
WITH {batch}
SELECT batch.sha256
FROM batch
WHERE
    EXISTS (SELECT 1 FROM blobs AS b WHERE b.sha256 = batch.sha256)
    OR EXISTS (SELECT 1 FROM artifacts AS a WHERE a.sha256 = batch.sha256);

-- name: artifact
-- returns: {artifact}
SELECT {artifact} FROM artifacts AS a WHERE a.id = :id AND a.workspace = :workspace;

-- name: artifacts_of_workspace
-- returns: {artifact}
SELECT {artifact}
FROM artifacts AS a
WHERE a.workspace = :workspace AND a.id < :before
ORDER BY a.id DESC
LIMIT :limit;

-- name: artifacts_of_execution
-- returns: {artifact}
SELECT {artifact}
FROM artifacts AS a
WHERE a.workspace = :workspace AND a.execution_id = :execution_id AND a.id > :after
ORDER BY a.id
LIMIT :limit;
