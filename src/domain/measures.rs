//! What can be measured in a voice recording, and how alike two recordings are.
//!
//! The structures serialise to the gateway's form as they are. Every number is finite.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

/// Mel-frequency cepstral coefficients that are measured.
pub const MFCC_COEFFICIENTS: usize = 13;

/// The acoustic measures of one recording.
///
/// How each is computed is told where it is computed: in
/// [`stages::measure`](crate::stages::measure). A recording in which nobody speaks has zeros where
/// there is nothing to measure, the classification `unknown` and a low confidence.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
#[schema(
    description = "The acoustic measures of one recording. Where nobody speaks they are 0 and `unknown`."
)]
pub struct VoiceMeasures {
    /// Fundamental frequency.
    pub pitch: PitchMeasures,
    /// What the pitch suggests about the speaker.
    pub classification: VoiceClassification,
    /// Shape of the spectrum.
    pub spectral: SpectralMeasures,
    /// Level and pauses.
    pub energy: EnergyMeasures,
    /// Regularity of the vocal folds' vibration.
    pub quality: QualityMeasures,
    /// Rhythm.
    pub prosody: ProsodyMeasures,
    /// Cepstrum.
    pub mfcc: MfccMeasures,
    /// What was measured, and how far it can be trusted.
    pub metadata: MeasureMetadata,
}

impl VoiceMeasures {
    /// With the speech rate that follows from the number of words in the recording's transcript.
    pub fn with_words(mut self, words: usize) -> Self {
        let seconds = self.metadata.duration_seconds;
        if seconds > 0.0 {
            self.prosody.speech_rate_wpm = 60.0 * words as f32 / seconds;
        }
        self
    }
}

/// Fundamental frequency of the voiced frames; all zero when there are none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct PitchMeasures {
    /// Mean.
    pub mean_hz: f32,
    /// Standard deviation.
    pub std_hz: f32,
    /// Frequency that 2 % of the frames stay below: single octave errors do not count.
    pub min_hz: f32,
    /// Frequency that 98 % of the frames stay below.
    pub max_hz: f32,
    /// `max_hz` − `min_hz`.
    pub range_hz: f32,
}

/// What the pitch suggests about the speaker: hints, never facts about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct VoiceClassification {
    /// Class of the mean pitch.
    pub voice_type: VoiceType,
    /// Sex of most adults with such a pitch.
    pub estimated_gender: EstimatedGender,
    /// Whether adults have such a pitch.
    pub estimated_age_range: EstimatedAgeRange,
}

/// Class of a voice by its mean pitch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VoiceType {
    /// A man's voice, lower than most.
    LowMale,
    /// A man's voice.
    MediumMale,
    /// A man's voice, higher than most.
    HighMale,
    /// A woman's voice, lower than most.
    LowFemale,
    /// A woman's voice.
    MediumFemale,
    /// A woman's voice, higher than most.
    HighFemale,
    /// Higher than the voices of adults.
    Child,
    /// Nothing can be said.
    Unknown,
}

/// Sex of most adults with a pitch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EstimatedGender {
    /// Mostly men.
    Male,
    /// Mostly women.
    Female,
    /// As many of both, or nothing can be said.
    Unknown,
}

/// Whether adults have such a pitch; the pitch of adults says nothing of use about their age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EstimatedAgeRange {
    /// Above the range of adults.
    Child,
    /// In the range of adults.
    Adult,
    /// Nothing can be said.
    Unknown,
}

/// Shape of the spectrum, the mean of all frames that are not silent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct SpectralMeasures {
    /// Centre of gravity of the magnitudes.
    pub centroid_hz: f32,
    /// Standard deviation of the magnitudes around the centroid.
    pub bandwidth_hz: f32,
    /// Frequency below which 85 % of the magnitudes lie.
    pub rolloff_hz: f32,
    /// Geometric over arithmetic mean of the powers, 0 (a tone) ..1 (noise).
    pub flatness: f32,
    /// Share of the magnitudes above 1,500 Hz, 0..1.
    pub brightness: f32,
    /// Share of the magnitudes below 1,000 Hz, 0..1.
    pub warmth: f32,
    /// Share of noise in the power of voiced frames, 0..1.
    pub breathiness: f32,
    /// Low over high power of voiced frames, cut at 600 Hz: 0 at −10 dB, 1 at 20 dB.
    pub nasality: f32,
}

/// Level and pauses of the whole recording, of frames of 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct EnergyMeasures {
    /// Mean root mean square of the frames, full scale = 1.
    pub mean: f32,
    /// Standard deviation of the same.
    pub std: f32,
    /// Level that 90 % of the frames stay below, over the level that 10 % stay below, in dB.
    pub dynamic_range_db: f32,
    /// Share of silent frames, 0..1.
    pub silence_ratio: f32,
}

/// Regularity of the vocal folds' vibration; all zero when no frame is voiced.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct QualityMeasures {
    /// Harmonics to noise, mean of the voiced frames, in dB.
    pub harmonics_to_noise: f32,
    /// Mean difference of neighbouring periods over the mean period: 0.01 is 1 %.
    pub jitter: f32,
    /// Mean difference of neighbouring periods' amplitudes over the mean amplitude: 0.01 is 1 %.
    pub shimmer: f32,
}

/// Rhythm.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct ProsodyMeasures {
    /// Words per minute of the recording, pauses included; without a transcript an estimate from
    /// the syllables.
    pub speech_rate_wpm: f32,
}

/// Mel-frequency cepstral coefficients over all frames that are not silent, in dB.
#[derive(Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct MfccMeasures {
    /// Mean of each coefficient; the first is the level.
    pub mean: [f32; MFCC_COEFFICIENTS],
    /// Standard deviation of each coefficient.
    pub std: [f32; MFCC_COEFFICIENTS],
}

/// What was measured, and how far it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct MeasureMetadata {
    /// Samples per second of the PCM that was measured.
    pub sample_rate: u32,
    /// Bits of one sample of that PCM.
    pub bit_depth: u16,
    /// Channels of that PCM.
    pub channels: u16,
    /// Encoding of that PCM.
    pub codec: &'static str,
    /// Length of the recording.
    pub duration_seconds: f32,
    /// Time that the measurement took.
    pub analysis_time_ms: u64,
    /// Trust in the measures, 0..1: how long somebody spoke, and how far above the noise.
    pub confidence: f32,
}

/// Shows the number of coefficients only: they describe a person's voice.
impl fmt::Debug for MfccMeasures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MfccMeasures([{MFCC_COEFFICIENTS}])")
    }
}

/// Shows what was measured and not what came out: the measures describe a person's voice.
impl fmt::Debug for VoiceMeasures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoiceMeasures")
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// How alike the voices of two recordings are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct VoiceComparison {
    /// Likeness in 0..1: of the speaker embeddings where there are two, else of the measures.
    pub overall_score: f32,
    /// `overall_score` reaches the threshold.
    pub is_likely_same_speaker: bool,
    /// Trust in the answer, 0..1.
    pub confidence: f32,
    /// Likeness of the measures.
    pub components: ComparisonComponents,
    /// Figures behind the answer.
    pub details: ComparisonDetails,
    /// Time that the two measurements took together.
    pub analysis_time_ms: u64,
}

/// Likeness of two recordings' measures, each 0..1; 1 for equal measures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct ComparisonComponents {
    /// Mean and spread of the pitch.
    pub pitch_similarity: f32,
    /// Shape of the spectrum.
    pub timbre_similarity: f32,
    /// Mean and spread of the cepstrum.
    pub mfcc_similarity: f32,
    /// Level and pauses.
    pub energy_similarity: f32,
}

/// Figures behind a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct ComparisonDetails {
    /// Difference of the mean pitches; absent when one recording has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pitch_diff_hz: Option<f32>,
    /// Cosine similarity of the speaker embeddings, −1..1; absent when one is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_similarity: Option<f32>,
}
