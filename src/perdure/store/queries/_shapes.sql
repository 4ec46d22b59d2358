-- The columns that statements share. Each alias stands for one table everywhere:
-- e executions, p payloads, r node_runs, w waits, m inbox, v events, a artifacts.

-- shape: record = e.id uuid, e.number bigint, e.workspace text, e.namespace text, e.flow text, e.flow_version bigint,
--   e.status text, e.reason text, e.priority bigint, e.queue text, e.tags text, e.trigger_kind text, e.trigger_id text,
--   e.trigger_context text, e.parent uuid, e.parent_node text, e.parent_ordinal bigint, e.parent_attempt bigint,
--   e.root uuid, e.depth bigint, e.replay_of uuid, e.idempotency_key text, e.concurrency_key text,
--   e.max_recoveries bigint, e.recoveries bigint, e.crashes bigint, e.worker text, e.epoch bigint, e.last_seq bigint,
--   e.has_cleanup bigint, e.created_at bigint, e.start_at bigint, e.queued_at bigint, e.started_at bigint,
--   e.finished_at bigint, e.updated_at bigint, e.deadline_at bigint, e.kind text

-- What a decision about an execution needs.
-- shape: standing = e.number bigint, e.id uuid, e.workspace text, e.flow text, e.status text, e.reason text,
--   e.worker text, e.epoch bigint, e.last_seq bigint, e.priority bigint, e.queue text, e.trigger_kind text,
--   e.created_at bigint, e.queued_at bigint, e.deadline_at bigint, e.concurrency_key text, e.start_claims text,
--   e.parent uuid, e.parent_node text, e.parent_ordinal bigint, e.parent_attempt bigint, e.has_cleanup bigint,
--   e.max_recoveries bigint, e.recoveries bigint, e.crashes bigint, e.kind text, e.started_at bigint,
--   e.finished_at bigint

-- shape: payload = p.execution_id uuid, p.input text, p.input_blob bytea, p.input_size bigint, p.output text,
--   p.output_blob bytea, p.output_size bigint, p.error text, p.replay text

-- shape: node_run = r.execution_id uuid, r.node text, r.ordinal bigint, r.label text, r.type text, r.status text,
--   r.attempt bigint, r.input text, r.input_blob bytea, r.input_size bigint, r.output text, r.output_blob bytea,
--   r.output_size bigint, r.error text, r.started_at bigint, r.finished_at bigint, r.retry_at bigint, r.wake_at bigint,
--   r.worker text, r.reused_from uuid, r.interruptions bigint, r.child uuid

-- shape: wait = w.execution_id uuid, w.node text, w.ordinal bigint, w.label text, w.kind text, w.due_at bigint,
--   w.child uuid, w.data text, w.created_at bigint, w.workspace text, w.flow text

-- shape: message = m.execution_id uuid, m.n bigint, m.kind text, m.data text, m.at bigint

-- shape: chunk = v.execution_id uuid, e.workspace text, e.flow text, v.seq bigint, v.body text,
--   e.kind text

-- shape: artifact = a.id uuid, a.workspace text, a.execution_id uuid, a.node text, a.ordinal bigint, a.attempt bigint,
--   a.name text, a.path text, a.media_type text, a.size_bytes bigint, a.sha256 bytea, a.created_at bigint
