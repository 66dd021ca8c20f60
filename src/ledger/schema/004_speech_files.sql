-- Speech in the output folder, by its path below it. Files may outlive their jobs, and are to be found
-- when everything of a user is deleted.
CREATE TABLE speech_files (
    file          TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL,
    written_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX speech_files_by_user ON speech_files (user_id);
CREATE INDEX speech_files_by_age ON speech_files (written_at_ms);

-- For the purge.
CREATE INDEX voice_translations_by_age ON voice_translations (created_at_ms);
CREATE INDEX voice_feedback_by_age ON voice_feedback (created_at_ms);
