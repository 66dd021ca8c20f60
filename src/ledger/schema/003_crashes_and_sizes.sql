-- `attempts` counts what was begun. Attempts that the process did not survive are `crashes`, those that
-- failed in a way that may pass are `soft_failures`; attempts that were stopped in good order are neither.
ALTER TABLE jobs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN soft_failures INTEGER NOT NULL DEFAULT 0;

-- Bytes of the request with its frames, and of the memory that its work is expected to take.
ALTER TABLE jobs ADD COLUMN size_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN memory_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET size_bytes = length(request)
    + (SELECT coalesce(sum(size_bytes), 0) FROM job_frames WHERE job_id = jobs.id)
    WHERE state IN ('accepted', 'running');
