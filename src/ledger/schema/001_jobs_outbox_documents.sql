-- Jobs in the order they were accepted. `key` is what makes two requests the same job.
CREATE TABLE jobs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    key            TEXT NOT NULL UNIQUE,
    kind           TEXT NOT NULL,
    lane           TEXT NOT NULL,
    task_id        TEXT NOT NULL,
    state          TEXT NOT NULL DEFAULT 'accepted'
                   CHECK (state IN ('accepted', 'running', 'done', 'failed', 'quarantined')),
    attempts       INTEGER NOT NULL DEFAULT 0,
    received_at_ms INTEGER NOT NULL,
    finished_at_ms INTEGER,
    request        TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_end ON jobs (finished_at_ms) WHERE finished_at_ms IS NOT NULL;

-- Binary frames of a request; their bytes are files named by their hash.
CREATE TABLE job_frames (
    job_id     INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_frames_by_hash ON job_frames (sha256);

-- What a stage made, so that a later attempt starts after it. `item` is a language or empty.
CREATE TABLE checkpoints (
    job_id     INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    stage      TEXT NOT NULL,
    item       TEXT NOT NULL,
    payload    BLOB NOT NULL,
    sha256     TEXT,
    size_bytes INTEGER,
    PRIMARY KEY (job_id, stage, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX checkpoints_by_hash ON checkpoints (sha256) WHERE sha256 IS NOT NULL;

-- The outbox: events in the order they are published. `key` names an event within its job.
CREATE TABLE events (
    id                    INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id                INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    key                   TEXT NOT NULL,
    body                  BLOB NOT NULL,
    state                 TEXT NOT NULL DEFAULT 'pending'
                          CHECK (state IN ('pending', 'published', 'damaged')),
    first_published_at_ms INTEGER,
    last_published_at_ms  INTEGER,
    publish_count         INTEGER NOT NULL DEFAULT 0,
    UNIQUE (job_id, key)
) STRICT;
CREATE INDEX events_pending ON events (id) WHERE state = 'pending';
CREATE INDEX events_published ON events (first_published_at_ms) WHERE state = 'published';

CREATE TABLE event_frames (
    event_id   INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (event_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_frames_by_hash ON event_frames (sha256);

-- Upserts that wait for the document store; written in order of id within one `order_key`.
CREATE TABLE documents (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id             INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    order_key          TEXT NOT NULL,
    collection         TEXT NOT NULL,
    filter             TEXT NOT NULL,
    document           TEXT NOT NULL,
    state              TEXT NOT NULL DEFAULT 'pending'
                       CHECK (state IN ('pending', 'done', 'skipped')),
    attempts           INTEGER NOT NULL DEFAULT 0,
    next_attempt_at_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (job_id, order_key)
) STRICT;
CREATE INDEX documents_pending ON documents (order_key, id) WHERE state = 'pending';
