//! `tts`: a text that is spoken, piece by piece, in a user's voice or in nobody's.
//!
//! It comes over HTTP only, so it has no place on the wire; its events are read in the ledger.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::JobFailure;
use super::job::Job;
use super::message::Voice;
use super::recording::in_background;
use super::speaker::Speaker;
use super::speech::{seed, written_file};
use super::voice;
use crate::domain::digest::sha256_hex;
use crate::domain::{Language, Pcm, PrivateText};
use crate::error::{ErrorCode, Reason, Stage};
use crate::ledger::{Finish, JobRecord, LedgerError, OutgoingEvent};
use crate::observe::metrics::AUDIO_SYNTHESIZED;
use crate::protocol::VoiceCloneHints;
use crate::stages::detect::detect_language;
use crate::stages::encode::{SpeechFormat, SpeechStream};
use crate::stages::synthesize::split_sentences;
use crate::voices::{ChosenVoice, Occasion};

/// Characters of a piece at most: what is heard begins when the first piece is spoken.
const PIECE_CHARACTERS: usize = 200;
/// Pieces that are spoken at once, those included that wait for an earlier one.
const PIECES_AHEAD: usize = 4;
/// Silence between two pieces, as between the sentences of one.
const PAUSE_MS: usize = 150;

/// A text that is to be spoken.
#[derive(Debug, Serialize, Deserialize)]
pub struct SpokenText {
    /// What to say.
    pub text: PrivateText,
    /// The language by whose rules it is read; `None`: that of the text.
    pub language: Option<Language>,
    /// Whose voice says it; without one, and where the user has none, the default voice.
    #[serde(rename = "userId")]
    pub user_id: Option<String>,
    /// The format of the file.
    pub format: SpeechFormat,
    /// True: pieces are given out as they are spoken.
    #[serde(rename = "isStreamed", default)]
    pub is_streamed: bool,
}

impl SpokenText {
    /// The job's kind in the ledger, in metrics and in logs.
    pub const KIND: &str = "tts";

    /// The text of a stored job; `None` for a job of another kind.
    pub(super) fn of(record: &JobRecord) -> Option<Result<Self, JobFailure>> {
        (record.kind == Self::KIND).then(|| {
            serde_json::from_slice(record.request.expose())
                .map_err(|_| JobFailure::unreadable_request())
        })
    }

    /// True for jobs of this kind.
    pub(super) fn is_of(record: &JobRecord) -> bool {
        record.kind == Self::KIND
    }
}

/// With what the keys of the events begin whose frames make the stream.
const PIECE_KEY: &str = "piece:";

/// A piece of a text that is given out as it is spoken.
struct Piece {
    number: usize,
    is_last: bool,
    pcm: Pcm,
    is_cloned: bool,
}

/// The speech of the whole text.
struct Said {
    pcm: Pcm,
    /// For a base voice that was given another voice: how alike they are.
    similarity: Option<f32>,
}

pub(super) async fn run(job: &Arc<Job>, wanted: SpokenText) -> Result<Finish, JobFailure> {
    let detected = || detect_language(wanted.text.expose()).map(|found| found.language);
    let language = wanted.language.or_else(detected);
    let language = language.unwrap_or(job.pipeline.options.default_text_language);
    // The voice is no stage: nothing is made for it.
    job.pipeline.running.expect(job.record.id, 2);
    let voice = voice(job, &wanted).await;
    let speaker = Speaker::of(job, wanted.user_id.is_some(), language, voice)?;
    let code = ErrorCode::TtsFailed;
    let said = job.stage(
        Stage::Synthesize,
        Some(language),
        code,
        say(job, &wanted, language, &speaker),
    );
    let Said { pcm, similarity } = said.await?;
    metrics::histogram!(AUDIO_SYNTHESIZED, "language" => language.to_string())
        .record(pcm.duration_ms() as f64 / 1000.0);
    let audio = encode(job, &pcm, language, wanted.format).await?;
    let name = format!(
        "tts_{}_{language}.{}",
        job.record.task_id,
        wanted.format.as_str()
    );
    let (_, audio_url) = written_file(job, &name, audio.clone()).await?;
    let (voice_cloned, voice_quality) = speaker.likeness(similarity);
    let completed = json!({
        "audio_url": audio_url,
        "format": wanted.format,
        "duration_ms": pcm.duration_ms(),
        "voice_cloned": voice_cloned,
        // As it was meant: 0.35 as f32 is 0.3499999940395355 as f64.
        "voice_quality": (f64::from(voice_quality) * 1e4).round() / 1e4,
        "language": language,
    });
    let completed = event(
        "completed".to_owned(),
        "tts_completed",
        &completed,
        Some(audio),
    );
    job.keep(vec![completed], Some(Finish::Done)).await?;
    Ok(Finish::Done)
}

/// Stores why a text is not spoken, and the job's end.
pub(super) async fn fail(
    job: &Job,
    failure: &JobFailure,
    finish: Finish,
) -> Result<(), LedgerError> {
    // Plain data with string keys always has a JSON form.
    let failure = serde_json::to_value(failure.on_the_wire()).unwrap_or_default();
    let error = event("error".to_owned(), "tts_error", &failure, None);
    job.keep(vec![error], Some(finish)).await
}

/// The voice that speaks. A user without one is spoken for by the default voice.
async fn voice(job: &Job, wanted: &SpokenText) -> Voice {
    let voices = &job.pipeline.voices;
    if let Some(user_id) = &wanted.user_id {
        let occasion = Occasion {
            requested_by: "http",
            task_id: &job.record.task_id,
        };
        match voices.kept(user_id, &occasion).await {
            Ok(Some(voice)) => return Ok(voice),
            Ok(None) => {}
            Err(error) => match voice::failure(&error) {
                full @ JobFailure::Ledger(_) => return Err(Arc::new(full)),
                failure => failure.record(job.kind()),
            },
        }
    }
    let default: Result<ChosenVoice, _> = voices.default_voice(&job.deadline).await;
    default.map_err(|error| Arc::new(voice::failure(&error)))
}

/// Says the text, several pieces at once, and gives them out in their order.
async fn say(
    job: &Job,
    wanted: &SpokenText,
    language: Language,
    speaker: &Speaker,
) -> Result<Said, JobFailure> {
    let pieces = split_sentences(wanted.text.expose(), language, PIECE_CHARACTERS);
    let last = pieces.len().saturating_sub(1);
    // Boxed, lest the compiler has to prove for every lifetime that they may change threads.
    let mut utterances = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        let seed = seed(&sha256_hex(piece.as_bytes()), language);
        let utterance = speaker.say(job, VoiceCloneHints::default(), piece, seed);
        utterances.push(utterance.boxed());
    }
    let mut utterances = stream::iter(utterances).buffered(PIECES_AHEAD).enumerate();
    let mut pieces_out = None;
    let (mut samples, mut rate, mut similarity) = (Vec::new(), 1, None);
    while let Some((number, utterance)) = utterances.next().await {
        let utterance = utterance?;
        let spoken = &utterance.speech.pcm;
        rate = spoken.sample_rate_hz();
        similarity = utterance.similarity;
        let begin = samples.len();
        if number > 0 {
            samples.resize(begin + PAUSE_MS * rate as usize / 1000, 0.0);
        }
        samples.extend_from_slice(spoken.samples());
        if wanted.is_streamed {
            let new = samples.get(begin..).unwrap_or_default();
            let piece = Piece {
                number,
                is_last: number == last,
                pcm: Pcm::new(new.to_vec(), rate),
                is_cloned: speaker.likeness(similarity).0,
            };
            give_out(job, wanted.format, &mut pieces_out, piece).await?;
        }
    }
    if samples.is_empty() {
        return Err(JobFailure::new(
            Stage::Synthesize,
            ErrorCode::TtsFailed,
            Reason::InvalidRequest,
            "there is nothing to say",
        ));
    }
    Ok(Said {
        pcm: Pcm::new(samples, rate),
        similarity,
    })
}

/// Stores the next piece for whoever listens. An earlier attempt may have done so: the same text is always
/// spoken alike.
async fn give_out(
    job: &Job,
    format: SpeechFormat,
    out: &mut Option<SpeechStream>,
    piece: Piece,
) -> Result<(), JobFailure> {
    let failed = |error| JobFailure::of_stage(Stage::Encode, ErrorCode::TtsFailed, &error);
    if out.is_none() {
        let options = &job.pipeline.options.mp3;
        let stream = format.stream(piece.pcm.sample_rate_hz(), options);
        *out = stream.map_err(failed)?;
    }
    let Some(stream) = out else {
        return Ok(());
    };
    let bytes = stream.push(&piece.pcm, piece.is_last).map_err(failed)?;
    let key = format!("{PIECE_KEY}{}", piece.number);
    if !job.has_stored(&key) {
        let body = json!({ "is_last": piece.is_last, "voice_cloned": piece.is_cloned });
        let piece = event(key, "tts_piece", &body, Some(bytes));
        job.keep(vec![piece], None).await?;
    }
    Ok(())
}

async fn encode(
    job: &Job,
    pcm: &Pcm,
    language: Language,
    format: SpeechFormat,
) -> Result<Bytes, JobFailure> {
    let code = ErrorCode::TtsFailed;
    job.stage(Stage::Encode, Some(language), code, async {
        let pcm = pcm.clone();
        let (options, deadline) = (job.pipeline.options.mp3.clone(), job.deadline.clone());
        in_background(Stage::Encode, move || {
            format
                .encode(&pcm, &options, &deadline)
                .map_err(|error| JobFailure::of_stage(Stage::Encode, code, &error))
        })
        .await
    })
    .await
}

fn event(key: String, kind: &'static str, body: &Value, payload: Option<Bytes>) -> OutgoingEvent {
    OutgoingEvent {
        key,
        kind,
        is_repeatable: false,
        body: body.to_string().into_bytes().into(),
        frames: payload.into_iter().collect::<Vec<_>>().into(),
    }
}
