-- Whose job it is: the owner of the voice, or who asked. `public_id` is what peers call the job, where
-- they may ask for it. `reason` says why a job failed.
ALTER TABLE jobs ADD COLUMN user_id TEXT;
ALTER TABLE jobs ADD COLUMN public_id TEXT;
ALTER TABLE jobs ADD COLUMN reason TEXT;
-- Begin of the latest attempt.
ALTER TABLE jobs ADD COLUMN started_at_ms INTEGER;
CREATE INDEX jobs_by_user ON jobs (user_id, id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX jobs_by_public_id ON jobs (public_id) WHERE public_id IS NOT NULL;

-- Grows when an event is asked for again: what is being sent at that moment is sent once more.
ALTER TABLE events ADD COLUMN reissues INTEGER NOT NULL DEFAULT 0;

-- Which job answers which part of a task, where a request can be answered in parts (its languages): a
-- repeat becomes a job for those parts only that no job has.
CREATE TABLE job_items (
    task_key TEXT NOT NULL,
    item     TEXT NOT NULL,
    job_id   INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (task_key, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_items_by_job ON job_items (job_id);

-- Results that may be given out again. Nothing depends on them.
CREATE TABLE cache (
    kind          TEXT NOT NULL,
    key           TEXT NOT NULL,
    user_id       TEXT,
    payload       BLOB NOT NULL,
    sha256        TEXT,
    size_bytes    INTEGER,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX cache_by_age ON cache (kind, created_at_ms);
CREATE INDEX cache_by_user ON cache (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX cache_by_hash ON cache (sha256) WHERE sha256 IS NOT NULL;

-- What the voice API has translated for a user; outlives the job.
CREATE TABLE voice_translations (
    id                 TEXT PRIMARY KEY,
    user_id            TEXT NOT NULL,
    created_at_ms      INTEGER NOT NULL,
    source_language    TEXT NOT NULL,
    original_text      TEXT NOT NULL,
    -- JSON object: the text in each language.
    translated_texts   TEXT NOT NULL,
    audio_duration_ms  INTEGER NOT NULL,
    voice_cloned       INTEGER NOT NULL,
    processing_time_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX voice_translations_by_user ON voice_translations (user_id, created_at_ms);
CREATE INDEX voice_translations_by_age ON voice_translations (created_at_ms);

-- What users think of translations.
CREATE TABLE voice_feedback (
    id             TEXT PRIMARY KEY,
    user_id        TEXT NOT NULL,
    translation_id TEXT NOT NULL,
    rating         REAL NOT NULL,
    kind           TEXT NOT NULL,
    comment        TEXT,
    -- JSON object as sent.
    metadata       TEXT,
    created_at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX voice_feedback_by_user ON voice_feedback (user_id, created_at_ms);
CREATE INDEX voice_feedback_by_age ON voice_feedback (created_at_ms);
CREATE INDEX voice_feedback_by_translation ON voice_feedback (translation_id);

-- Speech in the output folder, by its path below it. Files may outlive their jobs, and are to be found
-- when everything of a user is deleted.
CREATE TABLE speech_files (
    file          TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL,
    written_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX speech_files_by_user ON speech_files (user_id);
CREATE INDEX speech_files_by_age ON speech_files (written_at_ms);
