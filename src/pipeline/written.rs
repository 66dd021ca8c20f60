//! Languages of a voice message that nobody speaks. Who asks over HTTP gets them as texts; the gateway has messages of
//! its own for texts.

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::JobFailure;
use super::job::Job;
use super::message::{Outcome, Targets, VoiceMessage};
use super::speech::translation;
use crate::domain::{Language, Transcript};
use crate::ledger::{Audience, OutgoingEvent};
use crate::protocol::TargetLanguages;

/// The texts of a voice message that nobody speaks, as its job keeps them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WrittenTexts {
    /// One for each language.
    pub texts: Vec<WrittenText>,
}

/// The words of a voice message in another language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenText {
    /// The language, by its code.
    pub language: String,
    /// The words.
    pub text: String,
}

impl WrittenTexts {
    /// Names the event with them within the job.
    pub const KEY: &str = "texts";
}

/// Takes the languages out of the targets that are only written; gives them.
pub(super) fn take(
    job: &Job,
    wanted: Option<&TargetLanguages>,
    transcript: &Transcript,
    targets: &mut Targets,
) -> Vec<Language> {
    if job.record.audience != Audience::Http || transcript.is_blank() {
        return Vec::new();
    }
    if job.pipeline.spoken.is_silent() {
        targets.spoken.clear();
    }
    let wanted = wanted.map(|wanted| wanted.distinct_except(transcript.language));
    let mut written = wanted.unwrap_or_default();
    written.retain(|language| !targets.spoken.contains(language));
    written
}

/// Translates the languages, and notes what became of them.
pub(super) async fn translate(
    job: &Job,
    message: &VoiceMessage,
    transcript: &Transcript,
    languages: &[Language],
    outcome: &mut Outcome,
) -> Result<(), JobFailure> {
    // Boxed, lest the compiler has to prove for every lifetime that they may change threads.
    let mut translations = Vec::with_capacity(languages.len());
    for language in languages {
        translations.push(translation(job, message, transcript, *language).boxed());
    }
    for (language, translated) in languages.iter().zip(join_all(translations).await) {
        match translated {
            Ok(text) => outcome.written.texts.push(WrittenText {
                language: language.to_string(),
                text,
            }),
            Err(JobFailure::Ledger(error)) => return Err(error.into()),
            Err(failure) => {
                failure.record(job.kind());
                outcome.failures.push(failure);
            }
        }
    }
    Ok(())
}

/// Stores the texts for whoever asked for them. There is no event for them on the wire.
pub(super) async fn keep(job: &Job, written: &WrittenTexts) -> Result<(), JobFailure> {
    if written.texts.is_empty() || job.has_stored(WrittenTexts::KEY) {
        return Ok(());
    }
    // Plain data with string keys always has a JSON form.
    let body = serde_json::to_vec(written).unwrap_or_default();
    let event = OutgoingEvent {
        key: WrittenTexts::KEY.to_owned(),
        kind: "message_texts",
        is_repeatable: false,
        body: body.into(),
        frames: Vec::new().into(),
    };
    Ok(job.keep(vec![event], None).await?)
}
