-- Who is told of a job: the gateway, to which its events are published, or whoever asks over HTTP, who reads them
-- here.
ALTER TABLE jobs ADD COLUMN audience TEXT NOT NULL DEFAULT 'gateway';
-- JSON array: which stages the last attempt went through; written at the job's end.
ALTER TABLE jobs ADD COLUMN stages TEXT;
