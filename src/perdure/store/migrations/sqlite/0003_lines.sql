-- A queue is a line for each workspace, so that none waits for another.

DROP INDEX queue_by_rank;
CREATE INDEX queue_by_line ON queue (queue, workspace, rank, execution_id);
