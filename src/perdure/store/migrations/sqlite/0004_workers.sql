-- What a worker takes, so that others can tell who would run an execution.

ALTER TABLE workers ADD COLUMN queues TEXT;
ALTER TABLE workers ADD COLUMN slots INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE workers ADD COLUMN version TEXT NOT NULL DEFAULT '';
