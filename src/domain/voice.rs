//! What makes a voice: who it is, and how to speak like it.

use std::fmt;
use std::sync::Arc;

use super::private::Shown;

/// The OpenVoice embedding of a speaker: identity, not normalised (`[256]` with the real extractor).
#[derive(Clone, PartialEq)]
pub struct SpeakerEmbedding(pub Arc<[f32]>);

impl SpeakerEmbedding {
    /// Cosine similarity with another embedding, −1..1; 0 where lengths differ or a norm is zero.
    pub fn cosine_similarity(&self, other: &Self) -> f32 {
        if self.0.len() != other.0.len() {
            return 0.0;
        }
        let dot: f32 = self.0.iter().zip(other.0.iter()).map(|(a, b)| a * b).sum();
        let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        let scale = norm(&self.0) * norm(&other.0);
        if scale > 0.0 { dot / scale } else { 0.0 }
    }
}

/// What XTTS needs to speak in a voice.
#[derive(Clone, PartialEq)]
pub struct Conditioning {
    /// GPT conditioning latents, row-major [cond_len, width] ([32, 1024] in XTTS v2).
    pub latents: Arc<[f32]>,
    /// Speaker embedding for the vocoder (`[512]` in XTTS v2).
    pub speaker_embedding: Arc<[f32]>,
}

impl Conditioning {
    /// What a voice has instead where there is no XTTS to speak in it.
    pub fn none() -> Self {
        Self {
            latents: Arc::default(),
            speaker_embedding: Arc::default(),
        }
    }
}

/// Shows dimension and hash only: a voice print is personal data.
impl fmt::Debug for SpeakerEmbedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpeakerEmbedding")
            .field(&Shown(&self.0))
            .finish()
    }
}

/// Shows dimensions and hashes only: a voice print is personal data.
impl fmt::Debug for Conditioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conditioning")
            .field("latents", &Shown(&self.latents))
            .field("speaker_embedding", &Shown(&self.speaker_embedding))
            .finish()
    }
}
