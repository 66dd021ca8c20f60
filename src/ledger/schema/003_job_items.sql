-- Which job answers which part of a task, where a request can be answered in parts (its languages): a
-- repeat becomes a job for those parts only that no job has.
CREATE TABLE job_items (
    task_key TEXT NOT NULL,
    item     TEXT NOT NULL,
    job_id   INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (task_key, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_items_by_job ON job_items (job_id);
