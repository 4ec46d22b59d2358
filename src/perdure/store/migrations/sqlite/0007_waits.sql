-- Waits for somebody from outside: the inbox of a workspace, who may answer, and signals that came before their wait.

ALTER TABLE waits ADD COLUMN workspace TEXT NOT NULL DEFAULT '';
ALTER TABLE waits ADD COLUMN flow TEXT NOT NULL DEFAULT '';
UPDATE waits SET
    workspace = coalesce((SELECT e.workspace FROM executions AS e WHERE e.id = waits.execution_id), ''),
    flow = coalesce((SELECT e.flow FROM executions AS e WHERE e.id = waits.execution_id), '');

CREATE INDEX waits_by_kind ON waits (workspace, kind, created_at, execution_id, node, ordinal, label)
WHERE kind IN ('approval', 'ask', 'signal', 'pause');
CREATE INDEX waits_by_flow ON waits (workspace, flow, created_at, execution_id, node, ordinal, label)
WHERE kind IN ('approval', 'ask', 'signal', 'pause');
CREATE INDEX waits_by_due ON waits (workspace, due_at, execution_id, node, ordinal, label)
WHERE kind IN ('approval', 'ask', 'signal', 'pause') AND due_at IS NOT NULL;

-- One row for each approver that an open approval or ask names; '*' where it names none.
CREATE TABLE wait_approvers (
    execution_id BLOB NOT NULL,
    node TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    label TEXT NOT NULL,
    approver TEXT NOT NULL,
    workspace TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (execution_id, node, ordinal, label, approver)
) STRICT, WITHOUT ROWID;

CREATE INDEX wait_approvers_by_name
ON wait_approvers (workspace, approver, created_at, execution_id, node, ordinal, label);

CREATE TRIGGER waits_gone AFTER DELETE ON waits WHEN old.kind IN ('approval', 'ask')
BEGIN
    DELETE FROM wait_approvers
    WHERE execution_id = old.execution_id AND node = old.node AND ordinal = old.ordinal AND label = old.label;
END;

-- Those that no wait has taken yet; the oldest of a name goes first.
CREATE TABLE signals (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id BLOB NOT NULL,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    sender TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE INDEX signals_by_name ON signals (execution_id, name, n);
