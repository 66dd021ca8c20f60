-- Events end as settled, when the gateway is known to have taken them, or as unconfirmed. SQLite cannot change a
-- CHECK, so the table is made anew, and with it the one that refers to it.
CREATE TABLE new_events (
    id                    INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id                INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    key                   TEXT NOT NULL,
    -- The event's type on the wire; empty for events of earlier versions.
    kind                  TEXT NOT NULL DEFAULT '',
    -- Whether a subscriber that has the event drops a repeat of it.
    repeatable            INTEGER NOT NULL DEFAULT 0,
    body                  BLOB NOT NULL,
    state                 TEXT NOT NULL DEFAULT 'pending'
                          CHECK (state IN ('pending', 'published', 'settled', 'unconfirmed', 'damaged')),
    first_published_at_ms INTEGER,
    last_published_at_ms  INTEGER,
    publish_count         INTEGER NOT NULL DEFAULT 0,
    reissues              INTEGER NOT NULL DEFAULT 0,
    UNIQUE (job_id, key)
) STRICT;
INSERT INTO new_events (id, job_id, key, body, state, first_published_at_ms, last_published_at_ms,
                        publish_count, reissues)
    SELECT id, job_id, key, body, state, first_published_at_ms, last_published_at_ms, publish_count, reissues
    FROM events;
-- Ids are not used twice, not even those of deleted events.
DELETE FROM sqlite_sequence WHERE name = 'new_events';
INSERT INTO sqlite_sequence (name, seq) SELECT 'new_events', seq FROM sqlite_sequence WHERE name = 'events';

CREATE TABLE new_event_frames (
    event_id   INTEGER NOT NULL REFERENCES new_events (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (event_id, position)
) STRICT, WITHOUT ROWID;
INSERT INTO new_event_frames SELECT event_id, position, sha256, size_bytes FROM event_frames;

DROP TABLE event_frames;
DROP TABLE events;
ALTER TABLE new_events RENAME TO events;
ALTER TABLE new_event_frames RENAME TO event_frames;
CREATE INDEX event_frames_by_hash ON event_frames (sha256);
CREATE INDEX events_pending ON events (id) WHERE state = 'pending';
CREATE INDEX events_by_state ON events (state, first_published_at_ms);
CREATE INDEX events_repeatable ON events (first_published_at_ms) WHERE repeatable = 1;
