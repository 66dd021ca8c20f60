//! A voice as bytes: what travels in `embedding` and `voiceProfile` frames and lies in the voice store.
//!
//! ```text
//! "MSHV" | format version u16 | 0 u16 | three lengths u32 | f32 × lengths      all little endian
//! ```
//! The three arrays are the OpenVoice embedding, the XTTS conditioning latents and the XTTS speaker
//! embedding; the latter two are empty where no XTTS was installed. Other writers' frames are known by what they lack: the magic.

use std::sync::Arc;

use bytes::Bytes;

use super::foreign;
use crate::domain::voice::{Conditioning, SpeakerEmbedding};

const MAGIC: &[u8; 4] = b"MSHV";
const FORMAT_VERSION: u16 = 1;
const HEADER_BYTES: usize = 20;
/// Far above any real model (32 × 1024 latents); bounds what a hostile frame can make us allocate.
const MAX_VALUES: usize = 1 << 18;

/// Why bytes are not a voice profile of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Written by a later version of this program.
    #[error(
        "the voice profile has format version {0}, this program reads version {FORMAT_VERSION}"
    )]
    Version(u16),
    /// Not a voice profile, or a damaged one.
    #[error("the voice profile is malformed")]
    Malformed,
}

/// What a voice print that comes from outside holds.
#[derive(Debug, Clone, PartialEq)]
pub enum VoicePrint {
    /// A voice of ours.
    Whole(VoiceProfile),
    /// Who it is, without anything to speak with: another writer's.
    Identity(SpeakerEmbedding),
}

impl VoicePrint {
    /// Reads a voice of ours, or the bare array of the replaced service; trusts nothing.
    ///
    /// # Errors
    /// The bytes are of a later version, or neither of the two.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProfileError> {
        match foreign::bare_embedding(bytes) {
            Some(identity) => Ok(Self::Identity(identity)),
            None => VoiceProfile::from_bytes(bytes).map(Self::Whole),
        }
    }

    /// Who it is.
    pub fn into_identity(self) -> SpeakerEmbedding {
        match self {
            Self::Whole(profile) => profile.speaker_embedding,
            Self::Identity(identity) => identity,
        }
    }
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
            speaker_embedding: improved(&old.speaker_embedding, &new.speaker_embedding),
            conditioning: Conditioning {
                latents: weighted_mean(&shares(
                    &old.conditioning.latents,
                    &new.conditioning.latents,
                ))
                .into(),
                speaker_embedding: mean_direction(&shares(
                    &old.conditioning.speaker_embedding,
                    &new.conditioning.speaker_embedding,
                )),
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
    /// The bytes are of a later version, or no profile at all.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProfileError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(ProfileError::Malformed)?;
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
        let mut array = |least: usize| -> Result<Arc<[f32]>, ProfileError> {
            let length = lengths.next().unwrap_or_default();
            if !(least..=MAX_VALUES).contains(&length) {
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
            speaker_embedding: SpeakerEmbedding(array(1)?),
            conditioning: Conditioning {
                latents: array(0)?,
                speaker_embedding: array(0)?,
            },
        };
        if values.is_empty() {
            Ok(profile)
        } else {
            Err(ProfileError::Malformed)
        }
    }
}

/// The embedding of a speaker of whom one embedding is known and another recording was heard.
///
/// Both must be of one model.
pub(super) fn improved(old: &SpeakerEmbedding, new: &SpeakerEmbedding) -> SpeakerEmbedding {
    SpeakerEmbedding(mean_direction(&shares(&old.0, &new.0)))
}

/// The embedding of one speaker from several recordings, each with its length in milliseconds.
///
/// The reference procedure takes the plain mean over pieces of equal length, so a longer recording
/// counts for more. All must be of one model.
pub(super) fn mean_embedding(parts: &[(u64, SpeakerEmbedding)]) -> SpeakerEmbedding {
    let total_ms: u64 = parts.iter().map(|(duration_ms, _)| duration_ms).sum();
    let parts: Vec<(f32, &[f32])> = parts
        .iter()
        .map(|(duration_ms, embedding)| {
            let share = *duration_ms as f32 / total_ms.max(1) as f32;
            (share, &*embedding.0)
        })
        .collect();
    SpeakerEmbedding(mean_direction(&parts))
}

fn shares<'a>(old: &'a [f32], new: &'a [f32]) -> [(f32, &'a [f32]); 2] {
    let old_share = VoiceProfile::OLD_SHARE;
    [(old_share, old), (1.0 - old_share, new)]
}

/// Sum of vectors of equal length, each times its share.
fn weighted_mean(parts: &[(f32, &[f32])]) -> Vec<f32> {
    let mut mean = vec![0.0; parts.first().map_or(0, |(_, first)| first.len())];
    for (share, vector) in parts {
        for (sum, value) in mean.iter_mut().zip(*vector) {
            *sum += share * value;
        }
    }
    mean
}

/// The mean of directions, with the mean of their lengths: a mean of vectors that do not quite agree
/// is shorter than each of them.
fn mean_direction(parts: &[(f32, &[f32])]) -> Arc<[f32]> {
    let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let mean = weighted_mean(parts);
    let wanted: f32 = parts
        .iter()
        .map(|(share, vector)| share * norm(vector))
        .sum();
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
        assert_eq!(
            VoiceProfile::from_bytes(&voice.to_bytes()),
            Ok(voice.clone())
        );
        let identity = VoiceProfile {
            conditioning: Conditioning::none(),
            ..voice
        };
        assert_eq!(VoiceProfile::from_bytes(&identity.to_bytes()), Ok(identity));
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
    }

    #[test]
    fn prints_of_the_replaced_service_are_identities() {
        let bare: Vec<u8> = (0..256)
            .flat_map(|i| (i as f32 + 1.0).to_le_bytes())
            .collect();
        let print = VoicePrint::from_bytes(&bare).unwrap();
        let VoicePrint::Identity(identity) = &print else {
            panic!("a whole voice without conditioning");
        };
        assert_eq!(identity.0.len(), 256);
        assert_eq!(identity.0[255], 256.0);
        let whole = VoicePrint::from_bytes(&profile(0.5).to_bytes()).unwrap();
        assert_eq!(whole, VoicePrint::Whole(profile(0.5)));
        for nonsense in [&[0; 1024][..], &[0; 512], b"MSHV", b"", &[0x80; 700]] {
            let malformed = Err(ProfileError::Malformed);
            assert_eq!(VoicePrint::from_bytes(nonsense), malformed);
        }
    }

    #[test]
    fn several_recordings_count_by_their_length() {
        let embedding = |values: [f32; 2]| SpeakerEmbedding(Arc::from(values));
        let parts = [
            (3_000, embedding([2.0, 0.0])),
            (1_000, embedding([0.0, 2.0])),
        ];
        let mean = mean_embedding(&parts);
        // 3 : 1 in direction, as long as each of the two.
        assert!((mean.0[0] / mean.0[1] - 3.0).abs() < 1e-5, "{:?}", mean.0);
        assert!((mean.0[0].hypot(mean.0[1]) - 2.0).abs() < 1e-5);
        assert_eq!(mean_embedding(&parts[..1]), parts[0].1);
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
