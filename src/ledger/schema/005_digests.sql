-- SHA-256 over what a row was stored with, so that a bit that changes later is noticed before anything is
-- done with it. Every row has one: earlier rows are given theirs in the same step.
ALTER TABLE jobs ADD COLUMN digest TEXT;
ALTER TABLE checkpoints ADD COLUMN digest TEXT;
ALTER TABLE events ADD COLUMN digest TEXT;
ALTER TABLE documents ADD COLUMN digest TEXT;
ALTER TABLE cache ADD COLUMN digest TEXT;

-- Operators name jobs by their task, too.
CREATE INDEX jobs_by_task ON jobs (task_id);
