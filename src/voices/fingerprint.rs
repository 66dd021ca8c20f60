//! A voice in a few hundred bytes, which the gateway keeps and sends back to have it compared.
//!
//! ```text
//! fingerprint_id   "vfp_" and 12 hex digits
//! version          "1.0"
//! signature        64 hex digits: SHA-256 of embedding and components
//! signature_short  its first 12
//! components       pitch_hash, spectral_hash, prosody_hash: 16 hex digits each
//! checksum         8 hex digits: SHA-256 of everything else, cut
//! metadata         created_at, audio_duration_ms, sample_count, embedding_dimensions
//! integrity_valid  true
//! embedding        base64 of the speaker embedding, unit length, f16 little endian
//! ```
//!
//! `embedding` is a key of ours: two fingerprints that have it are compared by the cosine of their
//! embeddings, which tells speakers apart. 256 dimensions take 512 bytes, 684 characters. Other
//! writers' fingerprints lack it; how they compute their hashes is not known, so those are only equal
//! or not.
//!
//! The components are locality-sensitive: each packs measures as thermometers, of which as many bits
//! are set as the value is high, so the Hamming distance is the sum of the differences.
//!
//! The checksum finds damage, not malice: whoever knows this file can compute it. A fingerprint with
//! our embedding whose checksum does not fit is refused; another writer's checksum cannot be checked.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use half::f16;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::domain::VoiceMeasures;
use crate::domain::digest::Parts;
use crate::domain::voice::SpeakerEmbedding;

const VERSION: &str = "1.0";
const ID_PREFIX: &str = "vfp_";

/// More than any speaker embedding has; bounds what a hostile fingerprint can make us decode.
const MAX_DIMENSIONS: usize = 4096;

/// More than any point in time takes as text.
const MAX_TIME_CHARACTERS: usize = 64;

/// Hamming distance, of 64, from which on two components have nothing in common. On readings by five
/// speakers, two of the same one differ by at most 5 bits in the pitch, 7 in the spectrum, 7 in the
/// prosody.
const UNLIKE_PITCH_BITS: u32 = 16;
const UNLIKE_SPECTRAL_BITS: u32 = 16;
const UNLIKE_PROSODY_BITS: u32 = 32;

/// Why a fingerprint cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// It is no JSON object.
    #[error("the voice fingerprint is no object")]
    NoObject,
    /// A field is missing or is not what it should be.
    #[error("the voice fingerprint's `{0}` is missing or malformed")]
    Field(&'static str),
    /// Its major version is another.
    #[error("the voice fingerprint's version is not supported, this program reads {VERSION}")]
    Version,
    /// Its checksum does not fit, or it says of itself that it is damaged.
    #[error("the voice fingerprint is damaged")]
    Damaged,
}

/// What two fingerprints were compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparedBy {
    /// The cosine of their speaker embeddings.
    Embedding,
    /// Their hashes: weak evidence.
    Hashes,
}

/// How alike two fingerprints are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FingerprintSimilarity {
    /// 0..1.
    pub similarity: f32,
    /// What it was found by.
    pub by: ComparedBy,
}

impl FingerprintSimilarity {
    /// Least similarity of two fingerprints of one speaker.
    pub const THRESHOLD: f32 = 0.80;

    /// True when both are likely of one speaker.
    pub fn is_match(&self) -> bool {
        self.similarity >= Self::THRESHOLD
    }
}

/// A voice fingerprint. Whatever has this type passed its checks.
#[derive(Clone, PartialEq)]
pub struct VoiceFingerprint {
    id: String,
    version: String,
    /// 64 hex digits.
    signature: String,
    components: Components,
    /// 8 hex digits.
    checksum: String,
    metadata: FingerprintMetadata,
    /// Absent in other writers' fingerprints.
    embedding: Option<EmbeddingBytes>,
}

/// The three component hashes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Components {
    pitch: u64,
    spectral: u64,
    prosody: u64,
}

/// What a fingerprint was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FingerprintMetadata {
    /// When it was made, as its writer wrote it.
    pub created_at: String,
    /// Length of the recordings.
    pub audio_duration_ms: u64,
    /// Recordings.
    pub sample_count: u32,
    /// Length of the speaker embedding.
    pub embedding_dimensions: u32,
}

impl VoiceFingerprint {
    /// Makes the fingerprint of a voice that was heard in `sample_count` recordings of
    /// `audio_duration_ms` together. The same voice at the same time gives the same fingerprint.
    pub fn new(
        embedding: &SpeakerEmbedding,
        measures: &VoiceMeasures,
        created_at: OffsetDateTime,
        audio_duration_ms: u64,
        sample_count: u32,
    ) -> Self {
        let embedding = EmbeddingBytes::of(embedding);
        let components = Components::of(measures);
        let metadata = FingerprintMetadata {
            created_at: utc_text(created_at),
            audio_duration_ms,
            sample_count,
            embedding_dimensions: u32::try_from(embedding.dimensions()).unwrap_or(u32::MAX),
        };
        let signature = Hasher::new("signature")
            .part(&embedding.0)
            .components(&components)
            .hex(64);
        let id = Hasher::new("id")
            .part(signature.as_bytes())
            .metadata(&metadata)
            .hex(12);
        let mut fingerprint = Self {
            id: format!("{ID_PREFIX}{id}"),
            version: VERSION.to_owned(),
            signature,
            components,
            checksum: String::new(),
            metadata,
            embedding: Some(embedding),
        };
        fingerprint.checksum = fingerprint.computed_checksum();
        fingerprint
    }

    /// Reads a fingerprint that came back, ours or another writer's. Unknown keys are left aside, and so
    /// is `signature_short`, which repeats the signature.
    ///
    /// # Errors
    /// A field is missing or malformed, the version is another, or it is damaged.
    pub fn from_json(value: &Value) -> Result<Self, FingerprintError> {
        let object = value.as_object().ok_or(FingerprintError::NoObject)?;
        let id = text(object, "fingerprint_id", ID_PREFIX.len() + 12)?;
        let digits = id.strip_prefix(ID_PREFIX);
        if !digits.is_some_and(|digits| is_hex(digits, 12)) {
            return Err(FingerprintError::Field("fingerprint_id"));
        }
        let version = text(object, "version", 16)?;
        if version.split('.').next() != VERSION.split('.').next() {
            return Err(FingerprintError::Version);
        }
        let hashes = inner(object, "components")?;
        let metadata = inner(object, "metadata")?;
        let embedding = match object.get("embedding") {
            None | Some(Value::Null) => None,
            Some(value) => Some(EmbeddingBytes::from_json(value)?),
        };
        let fingerprint = Self {
            id: id.to_ascii_lowercase(),
            version: version.to_owned(),
            signature: hex(object, "signature", 64)?,
            components: Components {
                pitch: hash(hashes, "pitch_hash")?,
                spectral: hash(hashes, "spectral_hash")?,
                prosody: hash(hashes, "prosody_hash")?,
            },
            checksum: hex(object, "checksum", 8)?,
            metadata: FingerprintMetadata {
                created_at: text(metadata, "created_at", MAX_TIME_CHARACTERS)?.to_owned(),
                audio_duration_ms: whole(metadata, "audio_duration_ms")?,
                sample_count: whole(metadata, "sample_count")?,
                embedding_dimensions: whole(metadata, "embedding_dimensions")?,
            },
            embedding,
        };
        let is_damaged = object.get("integrity_valid") == Some(&Value::Bool(false))
            || fingerprint.embedding.is_some()
                && fingerprint.checksum != fingerprint.computed_checksum();
        if is_damaged {
            return Err(FingerprintError::Damaged);
        }
        Ok(fingerprint)
    }

    /// The form of the module documentation.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "fingerprint_id": self.id,
            "version": self.version,
            "signature": self.signature,
            "signature_short": self.signature_short(),
            "components": {
                "pitch_hash": format!("{:016x}", self.components.pitch),
                "spectral_hash": format!("{:016x}", self.components.spectral),
                "prosody_hash": format!("{:016x}", self.components.prosody),
            },
            "checksum": self.checksum,
            "metadata": {
                "created_at": self.metadata.created_at,
                "audio_duration_ms": self.metadata.audio_duration_ms,
                "sample_count": self.metadata.sample_count,
                "embedding_dimensions": self.metadata.embedding_dimensions,
            },
            "integrity_valid": true,
        });
        if let Some(embedding) = &self.embedding {
            value["embedding"] = Value::String(BASE64.encode(&embedding.0));
        }
        value
    }

    /// Its name: `vfp_` and 12 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The first 12 digits of the signature.
    pub fn signature_short(&self) -> &str {
        self.signature.get(..12).unwrap_or_default()
    }

    /// The speaker embedding at unit length, in half precision; `None` in other writers' fingerprints.
    pub fn embedding(&self) -> Option<SpeakerEmbedding> {
        self.embedding.as_ref().map(EmbeddingBytes::values)
    }

    /// Compares two voices.
    ///
    /// Two embeddings of one length: their cosine, negative ones being 0. Two of ours from different
    /// models: the distance of their components, with the weights of the measures in
    /// [`compare`](crate::stages::measure::compare()). Otherwise the share of signature and components
    /// that are equal, so that only all four make a match.
    pub fn compare(&self, other: &Self) -> FingerprintSimilarity {
        let (similarity, by) = match (&self.embedding, &other.embedding) {
            (Some(a), Some(b)) if a.dimensions() == b.dimensions() => {
                let cosine = a.values().cosine_similarity(&b.values());
                (cosine.clamp(0.0, 1.0), ComparedBy::Embedding)
            }
            (Some(_), Some(_)) => {
                let similarity = self.components.similarity(&other.components);
                (similarity, ComparedBy::Hashes)
            }
            _ => {
                let equal = [
                    self.signature == other.signature,
                    self.components.pitch == other.components.pitch,
                    self.components.spectral == other.components.spectral,
                    self.components.prosody == other.components.prosody,
                ];
                let count = equal.into_iter().filter(|equal| *equal).count();
                (count as f32 / equal.len() as f32, ComparedBy::Hashes)
            }
        };
        FingerprintSimilarity { similarity, by }
    }

    fn computed_checksum(&self) -> String {
        let embedding = self.embedding.as_ref().map(|embedding| &embedding.0[..]);
        Hasher::new("checksum")
            .part(self.id.as_bytes())
            .part(self.version.as_bytes())
            .part(self.signature.as_bytes())
            .components(&self.components)
            .metadata(&self.metadata)
            .part(embedding.unwrap_or_default())
            .hex(8)
    }
}

/// Shows nothing that describes the voice: a voice print is personal data.
impl fmt::Debug for VoiceFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoiceFingerprint")
            .field("id", &self.id)
            .field("version", &self.version)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

impl Components {
    fn of(measures: &VoiceMeasures) -> Self {
        let octaves = |hz: f32| hz.max(1.0).log2();
        let relative = |std: f32, mean: f32| if mean > 0.0 { std / mean } else { 0.0 };
        let (pitch, energy) = (&measures.pitch, &measures.energy);
        // Six and nine octaves above 1 Hz are 64 and 512 Hz.
        let pitch = thermometers([
            (octaves(pitch.mean_hz), 6.0, 9.0),
            (octaves(pitch.min_hz), 6.0, 9.0),
            (octaves(pitch.max_hz), 6.0, 9.0),
            (relative(pitch.std_hz, pitch.mean_hz), 0.0, 0.4),
        ]);
        // The coefficients' means in readings lie within these.
        let mfcc = &measures.mfcc.mean;
        let spectral = thermometers([
            (mfcc[1], -20.0, 120.0),
            (mfcc[2], -50.0, 50.0),
            (mfcc[3], -30.0, 50.0),
            (mfcc[4], -30.0, 30.0),
            (mfcc[5], -25.0, 25.0),
            (mfcc[6], -25.0, 25.0),
            (mfcc[7], -20.0, 20.0),
            (mfcc[8], -20.0, 20.0),
        ]);
        let prosody = thermometers([
            (measures.prosody.speech_rate_wpm, 0.0, 320.0),
            (energy.silence_ratio, 0.0, 1.0),
            (energy.dynamic_range_db, 0.0, 80.0),
            (relative(energy.std, energy.mean), 0.0, 2.0),
        ]);
        Self {
            pitch,
            spectral,
            prosody,
        }
    }

    fn similarity(&self, other: &Self) -> f32 {
        let likeness = |a: u64, b: u64, unlike: u32| {
            1.0 - ((a ^ b).count_ones().min(unlike) as f32 / unlike as f32)
        };
        0.2 * likeness(self.pitch, other.pitch, UNLIKE_PITCH_BITS)
            + 0.6 * likeness(self.spectral, other.spectral, UNLIKE_SPECTRAL_BITS)
            + 0.2 * likeness(self.prosody, other.prosody, UNLIKE_PROSODY_BITS)
    }
}

/// 64 bits of equal shares for each value: of its share as many are set as the value is far from the
/// lower to the upper limit.
fn thermometers<const N: usize>(values: [(f32, f32, f32); N]) -> u64 {
    let bits = 64 / N as u32;
    values.into_iter().fold(0, |hash, (value, low, high)| {
        let level = (value - low) / (high - low) * bits as f32;
        // A float becomes an integer by saturation.
        let level = (level.round() as u32).min(bits);
        (hash << bits) | ((1_u64 << level) - 1)
    })
}

/// Unit-length embedding as f16, little endian.
#[derive(Clone, PartialEq, Eq)]
struct EmbeddingBytes(Arc<[u8]>);

impl EmbeddingBytes {
    fn of(embedding: &SpeakerEmbedding) -> Self {
        let values = &embedding.0[..embedding.0.len().min(MAX_DIMENSIONS)];
        let power: f64 = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let scale = if power > 0.0 {
            power.sqrt().recip()
        } else {
            0.0
        };
        let bytes = values
            .iter()
            .flat_map(|x| f16::from_f64(f64::from(*x) * scale).to_le_bytes());
        Self(bytes.collect())
    }

    fn from_json(value: &Value) -> Result<Self, FingerprintError> {
        const MALFORMED: FingerprintError = FingerprintError::Field("embedding");
        let text = value.as_str().ok_or(MALFORMED)?;
        if text.len() > (2 * MAX_DIMENSIONS).div_ceil(3) * 4 {
            return Err(MALFORMED);
        }
        let bytes = BASE64.decode(text).map_err(|_| MALFORMED)?;
        let embedding = Self(bytes.into());
        let values = embedding.values();
        let is_sound = !values.0.is_empty()
            && embedding.0.len().is_multiple_of(2)
            && values.0.iter().all(|x| x.is_finite());
        is_sound.then_some(embedding).ok_or(MALFORMED)
    }

    fn dimensions(&self) -> usize {
        self.0.len() / 2
    }

    fn values(&self) -> SpeakerEmbedding {
        let values = self.0.chunks_exact(2);
        SpeakerEmbedding(
            values
                .map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32())
                .collect(),
        )
    }
}

/// Digests of what a fingerprint holds, piece by piece.
struct Hasher(Parts);

impl Hasher {
    fn new(purpose: &str) -> Self {
        Self(Parts::default())
            .part(b"voice fingerprint")
            .part(VERSION.as_bytes())
            .part(purpose.as_bytes())
    }

    fn part(mut self, bytes: &[u8]) -> Self {
        self.0.add(bytes);
        self
    }

    fn components(self, components: &Components) -> Self {
        self.part(&components.pitch.to_le_bytes())
            .part(&components.spectral.to_le_bytes())
            .part(&components.prosody.to_le_bytes())
    }

    fn metadata(self, metadata: &FingerprintMetadata) -> Self {
        self.part(metadata.created_at.as_bytes())
            .part(&metadata.audio_duration_ms.to_le_bytes())
            .part(&metadata.sample_count.to_le_bytes())
            .part(&metadata.embedding_dimensions.to_le_bytes())
    }

    /// The first so many hex digits.
    fn hex(self, digits: usize) -> String {
        let mut hex = self.0.sha256_hex();
        hex.truncate(digits);
        hex
    }
}

/// The form of the gateway's own times: UTC without saying so, microseconds.
fn utc_text(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
}

fn inner<'a>(
    object: &'a Map<String, Value>,
    key: &'static str,
) -> Result<&'a Map<String, Value>, FingerprintError> {
    let value = object.get(key).and_then(Value::as_object);
    value.ok_or(FingerprintError::Field(key))
}

fn text<'a>(
    object: &'a Map<String, Value>,
    key: &'static str,
    max_length: usize,
) -> Result<&'a str, FingerprintError> {
    let value = object.get(key).and_then(Value::as_str);
    value
        .filter(|text| (1..=max_length).contains(&text.len()))
        .ok_or(FingerprintError::Field(key))
}

fn hex(
    object: &Map<String, Value>,
    key: &'static str,
    digits: usize,
) -> Result<String, FingerprintError> {
    let value = text(object, key, digits)?;
    is_hex(value, digits)
        .then(|| value.to_ascii_lowercase())
        .ok_or(FingerprintError::Field(key))
}

fn hash(object: &Map<String, Value>, key: &'static str) -> Result<u64, FingerprintError> {
    u64::from_str_radix(&hex(object, key, 16)?, 16).map_err(|_| FingerprintError::Field(key))
}

fn whole<T: TryFrom<u64>>(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<T, FingerprintError> {
    let value = object.get(key).and_then(Value::as_u64);
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or(FingerprintError::Field(key))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
