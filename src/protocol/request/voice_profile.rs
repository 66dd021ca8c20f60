//! Requests of voice profiles, in snake case and named by their `request_id`.

use serde_json::Value;

use super::error::RequestIds;
use super::voice::{self, read_named};
use super::{AudioSource, Problem, RequestError, RequestKind, TargetLanguages};
use crate::domain::{Language, Private, PrivateText};
use crate::protocol::fields::Fields;

/// Longest text of a preview, in characters.
pub const MAX_PREVIEW_CHARACTERS: usize = 100;
/// Languages of the previews when the request names none.
const DEFAULT_PREVIEW_LANGUAGES: [&str; 3] = ["en", "fr", "es"];

/// A request of voice profiles.
#[derive(Debug, Clone, PartialEq)]
pub struct VoiceProfileRequest {
    /// Names the request.
    pub request_id: String,
    /// Whose voice it is, opaque; only a comparison has none.
    pub user_id: Option<String>,
    /// What is asked for.
    pub call: VoiceProfileCall,
}

/// What is asked of voice profiles.
#[derive(Debug, Clone, PartialEq)]
pub enum VoiceProfileCall {
    /// `voice_profile_analyze`: a voice is measured and kept.
    Analyze(Box<ProfileAnalysis>),
    /// `voice_profile_verify`: is it the voice of that fingerprint?
    Verify(Vec<AudioSource>, Fingerprint),
    /// `voice_profile_compare`: are two fingerprints of one voice?
    Compare(Fingerprint, Fingerprint),
}

/// A fingerprint as its sender keeps it; not checked yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Fingerprint(pub Private<Value>);

/// A voice to be measured and kept.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileAnalysis {
    /// Where the audio may be, in the order to try; never empty.
    pub audio: Vec<AudioSource>,
    /// True when the user has a voice that this one replaces.
    pub is_update: bool,
    /// The voice that the user has, if the sender knows it.
    pub existing_fingerprint: Option<Fingerprint>,
    /// Whether the words are wanted too.
    pub include_transcription: bool,
    /// Languages to hear the voice in; `None` when that is not wanted.
    pub preview_languages: Option<TargetLanguages>,
    /// What to say in them, at most 100 characters; else what was said.
    pub preview_text: Option<PrivateText>,
}

impl VoiceProfileRequest {
    pub(super) fn read(kind: RequestKind, mut fields: Fields) -> Result<Self, RequestError> {
        let ids = RequestIds {
            task_id: fields.id("request_id"),
            user_id: fields.id("user_id"),
            ..RequestIds::default()
        };
        let needs_user = kind != RequestKind::VoiceProfileCompare;
        let read_call = || read_call(kind, &mut fields);
        let (request_id, user_id, call) =
            read_named(kind, ids, "request_id", needs_user, read_call)?;
        Ok(Self {
            request_id,
            user_id,
            call,
        })
    }

    /// The request's name on the wire.
    pub fn kind(&self) -> RequestKind {
        match &self.call {
            VoiceProfileCall::Analyze(_) => RequestKind::VoiceProfileAnalyze,
            VoiceProfileCall::Verify(..) => RequestKind::VoiceProfileVerify,
            VoiceProfileCall::Compare(..) => RequestKind::VoiceProfileCompare,
        }
    }
}

fn read_call(kind: RequestKind, fields: &mut Fields) -> Result<VoiceProfileCall, Problem> {
    match kind {
        RequestKind::VoiceProfileAnalyze => {
            let audio = read_audio(fields)?;
            let wants_previews = fields.bool("generate_previews").unwrap_or(false);
            let languages = TargetLanguages::take_named(fields, "preview_languages")
                .map_err(|_| Problem::TooManyTargetLanguages)?;
            Ok(VoiceProfileCall::Analyze(Box::new(ProfileAnalysis {
                audio,
                is_update: fields.bool("is_update").unwrap_or(false),
                existing_fingerprint: fields
                    .value("existing_fingerprint")
                    .filter(Value::is_object)
                    .map(|json| Fingerprint(json.into())),
                include_transcription: fields.bool("include_transcription").unwrap_or(false),
                preview_languages: wants_previews
                    .then(|| languages.unwrap_or_else(default_preview_languages)),
                preview_text: fields
                    .string("preview_text")
                    .filter(|text| !text.trim().is_empty())
                    .map(|text| {
                        text.chars()
                            .take(MAX_PREVIEW_CHARACTERS)
                            .collect::<String>()
                            .into()
                    }),
            })))
        }
        RequestKind::VoiceProfileVerify => Ok(VoiceProfileCall::Verify(
            read_audio(fields)?,
            required_fingerprint(fields, "existing_fingerprint")?,
        )),
        _ => Ok(VoiceProfileCall::Compare(
            required_fingerprint(fields, "fingerprint_a")?,
            required_fingerprint(fields, "fingerprint_b")?,
        )),
    }
}

fn read_audio(fields: &mut Fields) -> Result<Vec<AudioSource>, Problem> {
    voice::read_audio(fields, "audio_data", "audio_path")
}

fn required_fingerprint(fields: &mut Fields, key: &'static str) -> Result<Fingerprint, Problem> {
    fields
        .value(key)
        .filter(Value::is_object)
        .map(|json| Fingerprint(json.into()))
        .ok_or(Problem::Missing(key))
}

fn default_preview_languages() -> TargetLanguages {
    DEFAULT_PREVIEW_LANGUAGES
        .into_iter()
        .filter_map(Language::parse)
        .collect()
}
