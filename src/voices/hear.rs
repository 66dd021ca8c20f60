//! Recordings of one speaker to a voice.

use super::profile::{self, VoiceProfile};
use super::{REFERENCE_SAMPLE_RATE_HZ, VoiceError, Voices};
use crate::domain::voice::{Conditioning, SpeakerEmbedding};
use crate::domain::{Deadline, Pcm, Recording};
use crate::engine::in_background;
use crate::error::error_chain;
use crate::stages::decode::resample_sinc;
use crate::stages::embed::EmbedRequest;
use crate::stages::synthesize::ConditioningRequest;

/// A voice with what it was made from.
pub(super) struct HeardVoice {
    pub(super) profile: VoiceProfile,
    pub(super) audio_count: u32,
    pub(super) total_duration_ms: u64,
    pub(super) sha256: Vec<String>,
}

impl Voices {
    /// Who speaks in a recording.
    ///
    /// # Errors
    /// The engine fails or is not there, or the recording is too short.
    pub async fn identify(
        &self,
        recording: &Pcm,
        deadline: &Deadline,
    ) -> Result<SpeakerEmbedding, VoiceError> {
        let request = EmbedRequest {
            pcm: reference(recording.clone()).await?,
            deadline: deadline.clone(),
        };
        self.embed.run(request).await.map_err(VoiceError::Embed)
    }

    /// Hears the voice that recordings have in common, the more important first; those that cannot be
    /// heard are left out, as long as one can.
    ///
    /// # Errors
    /// No recording can be heard, or none is of `speaker`, where that is given.
    pub(super) async fn hear(
        &self,
        recordings: &[Recording],
        speaker: Option<&SpeakerEmbedding>,
        deadline: &Deadline,
    ) -> Result<HeardVoice, VoiceError> {
        let mut references = Vec::new();
        let mut embeddings = Vec::new();
        let mut sha256 = Vec::new();
        let mut failure = VoiceError::OtherSpeaker;
        for recording in recordings {
            let pcm = reference(recording.pcm.clone()).await?;
            let request = EmbedRequest {
                pcm: pcm.clone(),
                deadline: deadline.clone(),
            };
            let embedding = match self.embed.run(request).await {
                Ok(embedding) => embedding,
                Err(error) => {
                    tracing::debug!(error = %error_chain(&error), "recording tells no voice");
                    failure = VoiceError::Embed(error);
                    continue;
                }
            };
            if speaker.is_some_and(|speaker| !self.may_be_same_speaker(speaker, &embedding)) {
                tracing::info!("recording is of another speaker, it is left out");
                continue;
            }
            embeddings.push((recording.pcm.duration_ms(), embedding));
            references.push(pcm);
            sha256.push(recording.sha256.clone());
        }
        if embeddings.is_empty() {
            return Err(failure);
        }
        let conditioning = match &self.condition {
            Some(condition) => {
                let request = ConditioningRequest {
                    references,
                    deadline: deadline.clone(),
                };
                let conditioning = condition.run(request).await;
                conditioning.map_err(VoiceError::Condition)?
            }
            None => Conditioning::none(),
        };
        Ok(HeardVoice {
            audio_count: u32::try_from(embeddings.len()).unwrap_or(u32::MAX),
            total_duration_ms: embeddings.iter().map(|(duration_ms, _)| duration_ms).sum(),
            profile: VoiceProfile {
                speaker_embedding: profile::mean_embedding(&embeddings),
                conditioning,
            },
            sha256,
        })
    }

    /// False where two embeddings of one model are of different speakers; embeddings of different
    /// models cannot be compared.
    fn may_be_same_speaker(&self, known: &SpeakerEmbedding, heard: &SpeakerEmbedding) -> bool {
        known.0.len() != heard.0.len() || self.is_same_speaker(known, heard)
    }

    /// True where two embeddings of one model are of the same speaker.
    pub(super) fn is_same_speaker(&self, a: &SpeakerEmbedding, b: &SpeakerEmbedding) -> bool {
        a.cosine_similarity(b) >= self.options.same_speaker_similarity
    }
}

/// A recording at the rate at which voices are heard, by the filter that the models were trained with.
pub(super) async fn reference(recording: Pcm) -> Result<Pcm, VoiceError> {
    in_background(move || resample_sinc(&recording, REFERENCE_SAMPLE_RATE_HZ))
        .await
        .map_err(|_| VoiceError::Panicked)
}
