//! How alike two voices are.

use super::moments::finite;
use crate::domain::VoiceMeasures;
use crate::domain::measures::{ComparisonComponents, ComparisonDetails, VoiceComparison};

/// `overall_score` from which on two recordings are likely of the same speaker.
pub const SAME_SPEAKER: f32 = 0.75;

/// Least standard deviations in a comparison: what varies less would differ from everything.
const MIN_STD_HZ: f32 = 1.0;
const MIN_STD_MFCC: f32 = 0.1;

/// Compares the measures of two recordings and, where there is one, takes the cosine similarity of
/// their speaker embeddings (−1..1) as the answer.
///
/// The embedding was trained to tell speakers apart and the measures were not, so with an embedding
/// `overall_score` is its similarity, negative ones being 0, and the components only illustrate it.
/// Without, `overall_score` is their weighted mean: pitch 0.20, timbre 0.25, MFCC 0.35, energy 0.20.
///
/// `confidence` is the lower of the recordings' confidences; without an embedding half of it.
pub fn compare(
    a: &VoiceMeasures,
    b: &VoiceMeasures,
    embedding_similarity: Option<f32>,
) -> VoiceComparison {
    let components = ComparisonComponents {
        pitch_similarity: pitch(a, b),
        timbre_similarity: timbre(a, b),
        mfcc_similarity: mfcc(a, b),
        energy_similarity: energy(a, b),
    };
    let embedding_similarity = embedding_similarity.filter(|similarity| similarity.is_finite());
    let overall_score = embedding_similarity
        .unwrap_or_else(|| overall(&components))
        .clamp(0.0, 1.0);
    let confidence = a.metadata.confidence.min(b.metadata.confidence);
    let have_pitch = a.pitch.mean_hz > 0.0 && b.pitch.mean_hz > 0.0;
    VoiceComparison {
        overall_score,
        is_likely_same_speaker: overall_score >= SAME_SPEAKER,
        confidence: match embedding_similarity {
            Some(_) => confidence,
            None => 0.5 * confidence,
        },
        components,
        details: ComparisonDetails {
            pitch_diff_hz: have_pitch.then(|| (a.pitch.mean_hz - b.pitch.mean_hz).abs()),
            embedding_similarity,
        },
        analysis_time_ms: a
            .metadata
            .analysis_time_ms
            .saturating_add(b.metadata.analysis_time_ms),
    }
}

/// The components' weighted mean.
fn overall(components: &ComparisonComponents) -> f32 {
    0.20 * components.pitch_similarity
        + 0.25 * components.timbre_similarity
        + 0.35 * components.mfcc_similarity
        + 0.20 * components.energy_similarity
}

/// Overlap of the two distributions of the pitch; 0 when only one recording has a pitch.
fn pitch(a: &VoiceMeasures, b: &VoiceMeasures) -> f32 {
    match (a.pitch.mean_hz > 0.0, b.pitch.mean_hz > 0.0) {
        (true, true) => finite(
            (-distance(
                [a.pitch.mean_hz, b.pitch.mean_hz],
                [a.pitch.std_hz, b.pitch.std_hz],
                MIN_STD_HZ,
            ))
            .exp(),
        ),
        (false, false) => 1.0,
        _ => 0.0,
    }
}

/// Geometric mean of the overlaps of the coefficients' distributions. The first coefficient is the
/// level, which says where the microphone was.
fn mfcc(a: &VoiceMeasures, b: &VoiceMeasures) -> f32 {
    let means = a.mfcc.mean.iter().zip(&b.mfcc.mean);
    let stds = a.mfcc.std.iter().zip(&b.mfcc.std);
    let distances: Vec<f64> = means
        .zip(stds)
        .skip(1)
        .map(|((&m, &n), (&s, &t))| distance([m, n], [s, t], MIN_STD_MFCC))
        .collect();
    finite((-distances.iter().sum::<f64>() / distances.len() as f64).exp())
}

/// Bhattacharyya distance of two normal distributions: e to the minus of it is their overlap, 1 for
/// equal ones.
fn distance(means: [f32; 2], stds: [f32; 2], min_std: f32) -> f64 {
    let [m, n] = means.map(f64::from);
    let [s, t] = stds.map(|std| f64::from(std.max(min_std)));
    let variances = s * s + t * t;
    0.25 * (m - n) * (m - n) / variances + 0.5 * (variances / (2.0 * s * t)).ln()
}

/// Geometric mean of the ratios of centroid, bandwidth and rolloff and of the agreement of the shares.
fn timbre(a: &VoiceMeasures, b: &VoiceMeasures) -> f32 {
    let (a, b) = (&a.spectral, &b.spectral);
    geometric_mean(&[
        ratio(a.centroid_hz, b.centroid_hz),
        ratio(a.bandwidth_hz, b.bandwidth_hz),
        ratio(a.rolloff_hz, b.rolloff_hz),
        agreement(a.brightness, b.brightness),
        agreement(a.warmth, b.warmth),
        agreement(a.breathiness, b.breathiness),
        agreement(a.nasality, b.nasality),
    ])
}

/// Geometric mean of the ratios of level and dynamic range and of the agreement of the pauses.
fn energy(a: &VoiceMeasures, b: &VoiceMeasures) -> f32 {
    let (a, b) = (&a.energy, &b.energy);
    geometric_mean(&[
        ratio(a.mean, b.mean),
        ratio(a.std, b.std),
        ratio(a.dynamic_range_db, b.dynamic_range_db),
        agreement(a.silence_ratio, b.silence_ratio),
    ])
}

/// The smaller over the larger of two numbers that are not negative.
fn ratio(a: f32, b: f32) -> f32 {
    let (low, high) = (a.min(b), a.max(b));
    if high > 0.0 { low / high } else { 1.0 }
}

/// Two shares in 0..1.
fn agreement(a: f32, b: f32) -> f32 {
    1.0 - (a - b).abs()
}

fn geometric_mean(values: &[f32]) -> f32 {
    let logs: f64 = values.iter().map(|value| f64::from(*value).ln()).sum();
    finite((logs / values.len().max(1) as f64).exp())
}
