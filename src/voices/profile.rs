//! A voice as bytes: what travels in `embedding` and `voiceProfile` frames and lies in the voice store.
//!
//! ```text
//! "MSHV" | format version u16 | 0 u16 | three lengths u32 | f32 × lengths      all little endian
//! ```
//! The three arrays are the OpenVoice embedding, the XTTS conditioning latents and the XTTS speaker
//! embedding. Other writers' frames are known by what they lack: the magic.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::voice::{Conditioning, SpeakerEmbedding};

const MAGIC: &[u8; 4] = b"MSHV";
const FORMAT_VERSION: u16 = 1;
const HEADER_BYTES: usize = 20;
/// Far above any real model (32 × 1024 latents); bounds what a hostile frame can make us allocate.
const MAX_VALUES: usize = 1 << 18;

/// Why bytes are not a voice profile of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A bare array as other writers store it: a speaker embedding without anything to speak with.
    #[error("the voice profile holds a speaker embedding only")]
    EmbeddingOnly,
    /// Written by a later version of this program.
    #[error(
        "the voice profile has format version {0}, this program reads version {FORMAT_VERSION}"
    )]
    Version(u16),
    /// Not a voice profile, or a damaged one.
    #[error("the voice profile is malformed")]
    Malformed,
}

/// Both halves of a voice, computed from the same reference audio.
#[derive(Debug, Clone, PartialEq)]
pub struct VoiceProfile {
    /// Who it is.
    pub speaker_embedding: SpeakerEmbedding,
    /// How to speak like it.
    pub conditioning: Conditioning,
}

impl VoiceProfile {
    /// Share of the old voice when a new recording improves it.
    const OLD_SHARE: f32 = 0.7;

    /// Averages two voices of one speaker, 0.7 old and 0.3 new.
    ///
    /// The embeddings are directions: their mean is brought back to the mean length of the two.
    /// Voices of different models (other dimensions) cannot be averaged: the new one is returned.
    pub fn improved_by(&self, new: &Self) -> Self {
        let old = self;
        let comparable = old.speaker_embedding.0.len() == new.speaker_embedding.0.len()
            && old.conditioning.latents.len() == new.conditioning.latents.len()
            && old.conditioning.speaker_embedding.len() == new.conditioning.speaker_embedding.len();
        if !comparable {
            return new.clone();
        }
        Self {
            speaker_embedding: SpeakerEmbedding(mean_direction(
                &old.speaker_embedding.0,
                &new.speaker_embedding.0,
            )),
            conditioning: Conditioning {
                latents: weighted_mean(&old.conditioning.latents, &new.conditioning.latents).into(),
                speaker_embedding: mean_direction(
                    &old.conditioning.speaker_embedding,
                    &new.conditioning.speaker_embedding,
                ),
            },
        }
    }

    /// Writes the format of the module documentation.
    pub fn to_bytes(&self) -> Bytes {
        let arrays = [
            &self.speaker_embedding.0,
            &self.conditioning.latents,
            &self.conditioning.speaker_embedding,
        ];
        let values: usize = arrays.iter().map(|array| array.len()).sum();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 4 * values);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        for array in arrays {
            bytes.extend_from_slice(&(array.len() as u32).to_le_bytes());
        }
        for value in arrays.into_iter().flat_map(|array| array.iter()) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.into()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; trusts nothing.
    ///
    /// # Errors
    /// The bytes are another writer's embedding, of a later version, or no profile at all.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProfileError> {
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            // 256 values as f32 or f16, as the replaced service stored them.
            return Err(match bytes.len() {
                1024 | 512 => ProfileError::EmbeddingOnly,
                _ => ProfileError::Malformed,
            });
        };
        let (header, values) = rest
            .split_at_checked(HEADER_BYTES - MAGIC.len())
            .ok_or(ProfileError::Malformed)?;
        let version = u16::from_le_bytes([header[0], header[1]]);
        if version != FORMAT_VERSION {
            return Err(ProfileError::Version(version));
        }
        let mut lengths = header[4..]
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
        let mut values = values;
        let mut array = || -> Result<Arc<[f32]>, ProfileError> {
            let length = lengths.next().unwrap_or_default();
            if !(1..=MAX_VALUES).contains(&length) {
                return Err(ProfileError::Malformed);
            }
            let (bytes, rest) = values
                .split_at_checked(4 * length)
                .ok_or(ProfileError::Malformed)?;
            values = rest;
            bytes
                .chunks_exact(4)
                .map(|b| {
                    Some(f32::from_le_bytes([b[0], b[1], b[2], b[3]])).filter(|x| x.is_finite())
                })
                .collect::<Option<_>>()
                .ok_or(ProfileError::Malformed)
        };
        let profile = Self {
            speaker_embedding: SpeakerEmbedding(array()?),
            conditioning: Conditioning {
                latents: array()?,
                speaker_embedding: array()?,
            },
        };
        if values.is_empty() {
            Ok(profile)
        } else {
            Err(ProfileError::Malformed)
        }
    }
}

fn weighted_mean(old: &[f32], new: &[f32]) -> Vec<f32> {
    old.iter()
        .zip(new)
        .map(|(old, new)| VoiceProfile::OLD_SHARE * old + (1.0 - VoiceProfile::OLD_SHARE) * new)
        .collect()
}

fn mean_direction(old: &[f32], new: &[f32]) -> Arc<[f32]> {
    let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let mean = weighted_mean(old, new);
    let wanted = VoiceProfile::OLD_SHARE * norm(old) + (1.0 - VoiceProfile::OLD_SHARE) * norm(new);
    let scale = match norm(&mean) {
        0.0 => 1.0,
        norm => wanted / norm,
    };
    mean.into_iter().map(|x| x * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(seed: f32) -> VoiceProfile {
        let ramp = |n: usize| {
            (0..n)
                .map(|i| (i as f32 + seed).sin())
                .collect::<Arc<[f32]>>()
        };
        VoiceProfile {
            speaker_embedding: SpeakerEmbedding(ramp(8)),
            conditioning: Conditioning {
                latents: ramp(32),
                speaker_embedding: ramp(6),
            },
        }
    }

    #[test]
    fn bytes_round_trip() {
        let voice = profile(0.5);
        assert_eq!(VoiceProfile::from_bytes(&voice.to_bytes()), Ok(voice));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let good = profile(0.5).to_bytes();
        for end in 0..good.len() {
            assert!(
                VoiceProfile::from_bytes(&good[..end]).is_err(),
                "cut at {end}"
            );
        }
        let mut nan = good.to_vec();
        nan[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert_eq!(VoiceProfile::from_bytes(&nan), Err(ProfileError::Malformed));
        let mut huge = good.to_vec();
        huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            VoiceProfile::from_bytes(&huge),
            Err(ProfileError::Malformed)
        );
        let mut later = good.to_vec();
        later[4] = 9;
        assert_eq!(
            VoiceProfile::from_bytes(&later),
            Err(ProfileError::Version(9))
        );
        assert_eq!(
            VoiceProfile::from_bytes(&[0; 1024]),
            Err(ProfileError::EmbeddingOnly)
        );
        assert_eq!(
            VoiceProfile::from_bytes(&[0; 512]),
            Err(ProfileError::EmbeddingOnly)
        );
    }

    #[test]
    fn improvement_keeps_the_length_of_directions() {
        let (old, new) = (profile(0.0), profile(0.3));
        let improved = old.improved_by(&new);
        let norm = |v: &SpeakerEmbedding| v.0.iter().map(|x| x * x).sum::<f32>().sqrt();
        let expected = 0.7 * norm(&old.speaker_embedding) + 0.3 * norm(&new.speaker_embedding);
        assert!((norm(&improved.speaker_embedding) - expected).abs() < 1e-5);
        let towards_old = improved
            .speaker_embedding
            .cosine_similarity(&old.speaker_embedding);
        let towards_new = improved
            .speaker_embedding
            .cosine_similarity(&new.speaker_embedding);
        assert!(towards_old > towards_new);
    }

    #[test]
    fn voices_of_different_models_do_not_mix() {
        let old = VoiceProfile {
            speaker_embedding: SpeakerEmbedding(Arc::from([1.0, 2.0])),
            ..profile(0.0)
        };
        let new = profile(0.3);
        assert_eq!(old.improved_by(&new), new);
    }
}
