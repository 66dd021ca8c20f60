//! What synthesis takes and gives.

use std::sync::Arc;

use super::sampler::SamplingHints;
use crate::domain::voice::Conditioning;
use crate::domain::{Deadline, Language, Pcm, PrivateText};

/// A text to be spoken.
pub struct SpeechRequest {
    /// What to say; any length, any structure.
    pub text: PrivateText,
    /// The language of the text.
    pub language: Language,
    /// The voice to say it in.
    pub conditioning: Arc<Conditioning>,
    /// The same text, voice and seed give the same speech, whatever else is in the batch.
    pub seed: [u8; 32],
    /// Wishes about the manner; usually empty.
    pub sampling: SamplingHints,
    /// When nobody waits any more.
    pub deadline: Deadline,
}

/// A spoken text.
#[derive(Debug, Clone)]
pub struct Speech {
    /// The audio, at the model's output rate (24 kHz).
    pub pcm: Pcm,
    /// What is said when, in order.
    pub parts: Vec<SpokenPart>,
}

/// A stretch of a spoken text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpokenPart {
    /// The words as they were written.
    pub text: PrivateText,
    /// Start from the beginning of the audio.
    pub start_ms: u64,
    /// End from the beginning of the audio.
    pub end_ms: u64,
}
