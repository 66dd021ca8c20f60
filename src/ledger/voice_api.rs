//! Statements on what the voice API remembers: translations of a user, feedback, and figures.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Ledger, LedgerError};
use crate::domain::PrivateText;

/// A translation that the voice API has made.
#[derive(Debug, Clone)]
pub struct VoiceTranslationRecord {
    /// Its name; keeping it again replaces it.
    pub id: String,
    /// Who asked.
    pub user_id: String,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// The language that was spoken.
    pub source_language: String,
    /// What was said.
    pub original_text: PrivateText,
    /// JSON object: the text in each language.
    pub translated_texts: PrivateText,
    /// Length of the recording.
    pub audio_duration_ms: u64,
    /// Whether it was spoken in the user's voice.
    pub voice_cloned: bool,
    /// From acceptance to result.
    pub processing_time_ms: u64,
    /// The latest rating, where there is one; not stored with the translation.
    pub rating: Option<f64>,
}

/// What a user thinks of a translation.
#[derive(Debug, Clone)]
pub struct VoiceFeedback {
    /// Its name; keeping it again replaces it.
    pub id: String,
    /// Who says it.
    pub user_id: String,
    /// What it is about.
    pub translation_id: String,
    /// In 0..5.
    pub rating: f64,
    /// What aspect it is about.
    pub kind: String,
    /// In the user's words.
    pub comment: Option<PrivateText>,
    /// JSON object as sent.
    pub metadata: Option<PrivateText>,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
}

/// Which part of a user's history is wanted.
#[derive(Debug, Clone, Copy)]
pub struct HistoryRange {
    /// Milliseconds since 1970, inclusive.
    pub from_ms: i64,
    /// Milliseconds since 1970, inclusive.
    pub until_ms: i64,
    /// Entries at most.
    pub limit: u32,
    /// Entries to pass over.
    pub offset: u32,
}

/// A part of a user's history, newest first.
#[derive(Debug)]
pub struct HistoryPage {
    /// The part.
    pub translations: Vec<VoiceTranslationRecord>,
    /// Entries in the range altogether.
    pub total: u64,
}

/// Figures about a user's translations.
#[derive(Debug, Clone, PartialEq)]
pub struct UserStatistics {
    /// Translations.
    pub translations: u64,
    /// Length of their recordings.
    pub audio_duration_ms: u64,
    /// Languages that were asked for, each once, in alphabetical order.
    pub languages: Vec<String>,
    /// Mean time from acceptance to result; 0 without translations.
    pub mean_processing_time_ms: f64,
    /// Mean rating, where there is any.
    pub mean_rating: Option<f64>,
    /// Ratings.
    pub feedback: u64,
}

/// Figures about jobs with recordings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JobStatistics {
    /// Jobs that were begun and have not ended.
    pub running: u64,
    /// Jobs that were not begun.
    pub waiting: u64,
    /// Jobs that ended with their result.
    pub done: u64,
    /// Jobs that ended with an error.
    pub failed: u64,
    /// Mean time from acceptance to result of those that are done; 0 without any.
    pub mean_processing_time_ms: f64,
}

impl Ledger {
    /// Remembers a translation of the voice API.
    ///
    /// # Errors
    /// The database fails.
    pub async fn remember_translation(
        &self,
        translation: VoiceTranslationRecord,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| store_translation(connection, &translation))
            .await
    }

    /// Remembers feedback.
    ///
    /// # Errors
    /// The database fails.
    pub async fn remember_feedback(&self, feedback: VoiceFeedback) -> Result<(), LedgerError> {
        self.write(move |connection| store_feedback(connection, &feedback))
            .await
    }

    /// Whose translation it is; `None` for what is not in the history.
    ///
    /// # Errors
    /// The database fails.
    pub async fn translation_owner(
        &self,
        translation_id: String,
    ) -> Result<Option<String>, LedgerError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached("SELECT user_id FROM voice_translations WHERE id = ?1")?
                .query_row([&translation_id], |row| row.get(0))
                .optional()?)
        })
        .await
    }

    /// A part of a user's history.
    ///
    /// # Errors
    /// The database fails.
    pub async fn history(
        &self,
        user_id: String,
        range: HistoryRange,
    ) -> Result<HistoryPage, LedgerError> {
        self.read(move |connection| history(connection, &user_id, range))
            .await
    }

    /// Figures about a user's translations since a time in milliseconds since 1970.
    ///
    /// # Errors
    /// The database fails.
    pub async fn user_statistics(
        &self,
        user_id: String,
        since_ms: i64,
    ) -> Result<UserStatistics, LedgerError> {
        self.read(move |connection| user_statistics(connection, &user_id, since_ms))
            .await
    }

    /// Figures about the jobs of two lanes: those that are there, and those that ended since a time in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// The database fails.
    pub async fn job_statistics(
        &self,
        lanes: [&'static str; 2],
        since_ms: i64,
    ) -> Result<JobStatistics, LedgerError> {
        self.read(move |connection| job_statistics(connection, lanes, since_ms))
            .await
    }
}

fn store_translation(
    connection: &Connection,
    translation: &VoiceTranslationRecord,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO voice_translations
                 (id, user_id, created_at_ms, source_language, original_text, translated_texts,
                  audio_duration_ms, voice_cloned, processing_time_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            translation.id,
            translation.user_id,
            translation.created_at_ms,
            translation.source_language,
            translation.original_text,
            translation.translated_texts,
            translation.audio_duration_ms as i64,
            translation.voice_cloned,
            translation.processing_time_ms as i64
        ])?;
    Ok(())
}

fn store_feedback(connection: &Connection, feedback: &VoiceFeedback) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO voice_feedback
                 (id, user_id, translation_id, rating, kind, comment, metadata, created_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            feedback.id,
            feedback.user_id,
            feedback.translation_id,
            feedback.rating,
            feedback.kind,
            feedback.comment,
            feedback.metadata,
            feedback.created_at_ms
        ])?;
    Ok(())
}

fn history(
    connection: &Connection,
    user_id: &str,
    range: HistoryRange,
) -> Result<HistoryPage, LedgerError> {
    let total: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM voice_translations
             WHERE user_id = ?1 AND created_at_ms BETWEEN ?2 AND ?3",
        )?
        .query_row(params![user_id, range.from_ms, range.until_ms], |row| {
            row.get(0)
        })?;
    // A rating counts only if it is the user's own: others may name the translation too.
    let mut statement = connection.prepare_cached(
        "SELECT id, user_id, created_at_ms, source_language, original_text, translated_texts,
                audio_duration_ms, voice_cloned, processing_time_ms,
                (SELECT rating FROM voice_feedback AS feedback
                 WHERE feedback.translation_id = translation.id
                   AND feedback.user_id = translation.user_id
                 ORDER BY feedback.created_at_ms DESC LIMIT 1)
         FROM voice_translations AS translation
         WHERE user_id = ?1 AND created_at_ms BETWEEN ?2 AND ?3
         ORDER BY created_at_ms DESC, id LIMIT ?4 OFFSET ?5",
    )?;
    let translations = statement.query_map(
        params![
            user_id,
            range.from_ms,
            range.until_ms,
            range.limit,
            range.offset
        ],
        translation,
    )?;
    Ok(HistoryPage {
        translations: translations.collect::<Result<_, _>>()?,
        total: total.unsigned_abs(),
    })
}

fn translation(row: &Row<'_>) -> rusqlite::Result<VoiceTranslationRecord> {
    Ok(VoiceTranslationRecord {
        id: row.get(0)?,
        user_id: row.get(1)?,
        created_at_ms: row.get(2)?,
        source_language: row.get(3)?,
        original_text: row.get(4)?,
        translated_texts: row.get(5)?,
        audio_duration_ms: row.get::<_, i64>(6)?.unsigned_abs(),
        voice_cloned: row.get(7)?,
        processing_time_ms: row.get::<_, i64>(8)?.unsigned_abs(),
        rating: row.get(9)?,
    })
}

fn user_statistics(
    connection: &Connection,
    user_id: &str,
    since_ms: i64,
) -> Result<UserStatistics, LedgerError> {
    let (translations, audio_duration_ms, mean_processing_time_ms) = connection
        .prepare_cached(
            "SELECT count(*), coalesce(sum(audio_duration_ms), 0),
                    coalesce(avg(processing_time_ms), 0.0)
             FROM voice_translations WHERE user_id = ?1 AND created_at_ms >= ?2",
        )?
        .query_row(params![user_id, since_ms], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?))
        })?;
    let (feedback, mean_rating) = connection
        .prepare_cached(
            "SELECT count(*), avg(rating) FROM voice_feedback
             WHERE user_id = ?1 AND created_at_ms >= ?2",
        )?
        .query_row(params![user_id, since_ms], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?))
        })?;
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT text.key
         FROM voice_translations, json_each(translated_texts) AS text
         WHERE user_id = ?1 AND created_at_ms >= ?2 ORDER BY text.key",
    )?;
    let languages = statement.query_map(params![user_id, since_ms], |row| row.get(0))?;
    Ok(UserStatistics {
        translations: translations.unsigned_abs(),
        audio_duration_ms: audio_duration_ms.unsigned_abs(),
        languages: languages.collect::<Result<_, _>>()?,
        mean_processing_time_ms,
        mean_rating,
        feedback: feedback.unsigned_abs(),
    })
}

fn job_statistics(
    connection: &Connection,
    lanes: [&str; 2],
    since_ms: i64,
) -> Result<JobStatistics, LedgerError> {
    // Two questions, each of which an index answers.
    let (running, waiting) = connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 'running'),
                    count(*) FILTER (WHERE state = 'accepted')
             FROM jobs WHERE state IN ('accepted', 'running') AND lane IN (?1, ?2)",
        )?
        .query_row(lanes, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
    let (done, failed, mean_processing_time_ms) = connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 'done'),
                    count(*) FILTER (WHERE state IN ('failed', 'quarantined')),
                    coalesce(avg(finished_at_ms - received_at_ms)
                             FILTER (WHERE state = 'done'), 0.0)
             FROM jobs WHERE finished_at_ms >= ?3 AND lane IN (?1, ?2)",
        )?
        .query_row(params![lanes[0], lanes[1], since_ms], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?))
        })?;
    Ok(JobStatistics {
        running: running.unsigned_abs(),
        waiting: waiting.unsigned_abs(),
        done: done.unsigned_abs(),
        failed: failed.unsigned_abs(),
        mean_processing_time_ms,
    })
}

/// Deletes history and feedback from before a time.
pub(super) fn delete_older(connection: &Connection, before_ms: i64) -> Result<(), LedgerError> {
    for statement in [
        "DELETE FROM voice_translations WHERE created_at_ms < ?1",
        "DELETE FROM voice_feedback WHERE created_at_ms < ?1",
    ] {
        connection.prepare_cached(statement)?.execute([before_ms])?;
    }
    Ok(())
}
