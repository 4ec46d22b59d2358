-- Units: node runs of an execution that are made elsewhere, as children of it. They stand in no list unless they are
-- asked for, so the indexes of lists leave them out: a thousand units cost a list nothing.

ALTER TABLE executions ADD COLUMN kind TEXT NOT NULL DEFAULT 'flow' CHECK (kind IN ('flow', 'unit'));
-- Of the node run that started it: what undoes a run may start a child of its own.
ALTER TABLE executions ADD COLUMN parent_label TEXT;
UPDATE executions SET parent_label = '' WHERE parent IS NOT NULL;

-- The execution that the run's last attempt started, if it did.
ALTER TABLE node_runs ADD COLUMN child BLOB;

DROP INDEX executions_by_workspace;
DROP INDEX executions_by_status;
DROP INDEX executions_by_flow;
DROP INDEX executions_by_namespace;
DROP INDEX executions_by_trigger;
DROP INDEX executions_by_parent;
DROP INDEX children_by_parent;
DROP INDEX executions_by_root;

CREATE INDEX executions_by_workspace ON executions (workspace, id) WHERE kind = 'flow';
CREATE INDEX executions_by_status ON executions (workspace, status, id) WHERE kind = 'flow';
CREATE INDEX executions_by_flow ON executions (workspace, flow, status, id) WHERE kind = 'flow';
CREATE INDEX executions_by_namespace ON executions (workspace, namespace, id) WHERE kind = 'flow';
CREATE INDEX executions_by_trigger ON executions (workspace, trigger_kind, id) WHERE kind = 'flow';
CREATE UNIQUE INDEX executions_by_parent
ON executions (parent, parent_node, parent_ordinal, parent_label, parent_attempt)
WHERE parent IS NOT NULL;
CREATE INDEX children_by_parent ON executions (parent, id) WHERE parent IS NOT NULL AND kind = 'flow';
CREATE INDEX executions_by_root ON executions (root, id) WHERE depth > 0 AND kind = 'flow';

CREATE INDEX units_by_status ON executions (workspace, status, id) WHERE kind = 'unit';
CREATE INDEX units_by_parent ON executions (parent, id) WHERE kind = 'unit';
CREATE INDEX units_by_root ON executions (root, id) WHERE kind = 'unit';
