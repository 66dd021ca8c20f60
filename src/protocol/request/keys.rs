//! Keys by which repeats of a request are recognised.

use super::{AudioSource, MobileTranscription, Request, TargetLanguages};
use crate::domain::Language;
use crate::domain::digest::Parts;

/// What makes a request the same as another, piece by piece.
struct Hasher(Parts);

impl Hasher {
    fn new(domain: &str) -> Self {
        let mut hasher = Self(Parts::default());
        hasher.part(domain.as_bytes());
        hasher
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.add(bytes);
    }

    fn text(&mut self, text: &str) {
        self.part(text.as_bytes());
    }

    /// The languages in alphabetical order; absent and empty differ.
    fn languages(&mut self, languages: Option<&TargetLanguages>) {
        let Some(languages) = languages else {
            self.text("absent");
            return;
        };
        let mut requested: Vec<&str> = languages
            .accepted
            .iter()
            .map(|l| l.requested.as_str())
            .collect();
        requested.sort_unstable();
        self.text(&requested.join(","));
    }

    fn recording(&mut self, audio: &[AudioSource], mobile: Option<&MobileTranscription>) {
        match audio.first() {
            Some(AudioSource::Frame(bytes)) => self.part(bytes.expose()),
            Some(AudioSource::Base64(text) | AudioSource::Url(text) | AudioSource::Path(text)) => {
                self.text(text.expose())
            }
            None => {}
        }
        self.text(mobile.map_or("", |mobile| mobile.text.expose().as_str()));
    }
}

impl Request {
    /// The key that a repeat of the request has too: kind, task id, content, and the languages where
    /// they are answered together. A `translation` answers each on its own, and its repeats name fewer.
    ///
    /// Without a task id (see [`set_task_id`](Self::set_task_id)) equal content gives equal keys, so give a
    /// request that came without one its own id first: the same recording may rightly be sent again.
    pub fn dedup_key(&self) -> String {
        let mut hasher = Hasher::new("dedup");
        hasher.text(self.task_id().unwrap_or_default());
        hasher.text(self.kind().as_str());
        match self {
            Self::Ping => {}
            Self::Translation(request) => {
                hasher.text(&request.message_id);
                hasher.text(request.text.expose());
            }
            Self::AudioProcess(request) => {
                hasher.text(&request.message_id);
                hasher.text(&request.attachment_id);
                hasher.recording(&request.audio, request.mobile_transcription.as_ref());
                hasher.languages(request.target_languages.as_ref());
            }
            Self::TranscriptionOnly(request) => {
                hasher.text(&request.message_id);
                hasher.text(request.attachment_id.as_deref().unwrap_or_default());
                hasher.recording(&request.audio, request.mobile_transcription.as_ref());
            }
            Self::StoryText(request) => {
                hasher.text(&request.post_id);
                hasher.text(&request.text_object_index.to_string());
                hasher.text(request.text.expose());
                let source = request.source_language;
                hasher.text(source.as_ref().map_or("auto", Language::as_str));
                hasher.languages(Some(&request.target_languages));
            }
            // These are named by their sender; what they say besides may be as large as a recording.
            Self::VoiceApi(request) => hasher.text(request.user_id.as_deref().unwrap_or_default()),
            Self::VoiceProfile(request) => {
                hasher.text(request.user_id.as_deref().unwrap_or_default());
            }
        }
        format!("{}:{}", self.kind().as_str(), hasher.0.sha256_hex())
    }
}
