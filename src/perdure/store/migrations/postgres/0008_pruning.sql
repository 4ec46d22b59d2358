-- Workers that stopped are forgotten after a while, the oldest first.

CREATE INDEX workers_by_end ON workers (stopped_at) WHERE stopped_at IS NOT NULL;
