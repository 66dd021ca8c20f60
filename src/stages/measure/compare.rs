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
/// On twelve readings by five speakers the embedding's similarity is 0.90 to 0.96 for one speaker and
/// 0.10 to 0.70 for two. The measures give 0.88 and more for one, at most 0.70 for two; but no more than
/// 0.64 for one whose voice once went through a telephone's band: they also describe the microphone.
/// So `confidence`, the lower of the recordings' confidences, is halved without an embedding.
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

/// Overlap of the two distributions of the coefficients, taken as independent. The first coefficient is
/// left out: it is the level, which says where the microphone was.
fn mfcc(a: &VoiceMeasures, b: &VoiceMeasures) -> f32 {
    let means = a.mfcc.mean.iter().zip(&b.mfcc.mean);
    let stds = a.mfcc.std.iter().zip(&b.mfcc.std);
    let distances = means.zip(stds).skip(1);
    let total: f64 = distances
        .map(|((&m, &n), (&s, &t))| distance([m, n], [s, t], MIN_STD_MFCC))
        .sum();
    finite((-total).exp())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::measure;
    use super::*;
    use crate::domain::{Deadline, Pcm};

    /// A swelling harmonic sound.
    fn voice(hz: f32, slope: f32) -> VoiceMeasures {
        let samples: Vec<f32> = (0..16_000_u16)
            .map(|n| {
                let t = f32::from(n) / 16_000.0;
                let harmonic = |k: u8| {
                    let k = f32::from(k);
                    k.powf(-slope) * (std::f32::consts::TAU * k * hz * t).sin()
                };
                0.1 * (9.0 * t).sin().abs() * (1..12).map(harmonic).sum::<f32>()
            })
            .collect();
        measure(&Pcm::new(samples, 16_000), &Deadline::none()).unwrap()
    }

    fn near(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-5
    }

    #[test]
    fn a_voice_is_like_itself() {
        let voice = voice(120.0, 1.0);
        let comparison = compare(&voice, &voice, None);
        let components = comparison.components;
        for similarity in [
            comparison.overall_score,
            components.pitch_similarity,
            components.timbre_similarity,
            components.mfcc_similarity,
            components.energy_similarity,
        ] {
            assert!(near(similarity, 1.0), "{comparison:?}");
        }
        assert!(comparison.is_likely_same_speaker);
        assert_eq!(comparison.details.pitch_diff_hz, Some(0.0));
        assert!(near(comparison.confidence, 0.5 * voice.metadata.confidence));
    }

    #[test]
    fn without_embeddings_the_measures_decide() {
        let (low, high) = (voice(120.0, 1.0), voice(220.0, 0.3));
        let comparison = compare(&low, &high, None);
        let components = comparison.components;
        let expected = 0.20 * components.pitch_similarity
            + 0.25 * components.timbre_similarity
            + 0.35 * components.mfcc_similarity
            + 0.20 * components.energy_similarity;
        assert!(near(comparison.overall_score, expected));
        assert!(!comparison.is_likely_same_speaker);
        assert!(components.pitch_similarity < 0.01);
        let off_hz = comparison.details.pitch_diff_hz.unwrap() - 100.0;
        assert!(off_hz.abs() < 0.5, "off by {off_hz} Hz");
    }

    #[test]
    fn with_embeddings_they_decide() {
        let (low, high) = (voice(120.0, 1.0), voice(220.0, 0.3));
        for (similarity, score, is_same) in [
            (0.9, 0.9, true),
            (0.75, 0.75, true),
            (0.74, 0.74, false),
            (-0.4, 0.0, false),
        ] {
            let comparison = compare(&low, &high, Some(similarity));
            assert_eq!(comparison.overall_score, score);
            assert_eq!(comparison.is_likely_same_speaker, is_same);
            assert_eq!(comparison.details.embedding_similarity, Some(similarity));
            let confidence = low.metadata.confidence.min(high.metadata.confidence);
            assert_eq!(comparison.confidence, confidence);
        }
        let unusable = compare(&low, &high, Some(f32::NAN));
        assert_eq!(unusable, compare(&low, &high, None));
    }

    #[test]
    fn a_recording_without_a_voice_is_unlike_any_voice() {
        let silence = measure(&Pcm::new(vec![0.0; 16_000], 16_000), &Deadline::none());
        let silence = silence.unwrap();
        let comparison = compare(&voice(120.0, 1.0), &silence, None);
        assert_eq!(comparison.components.pitch_similarity, 0.0);
        assert_eq!(comparison.confidence, 0.0);
        assert_eq!(comparison.details.pitch_diff_hz, None);
        assert!(!comparison.is_likely_same_speaker);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn the_order_does_not_matter(
            hz in (80.0_f32..300.0, 80.0_f32..300.0),
            slope in (0.2_f32..2.0, 0.2_f32..2.0),
        ) {
            let (a, b) = (voice(hz.0, slope.0), voice(hz.1, slope.1));
            let (ab, ba) = (compare(&a, &b, None), compare(&b, &a, None));
            prop_assert!(near(ab.overall_score, ba.overall_score));
            prop_assert!((0.0..=1.0).contains(&ab.overall_score));
        }
    }
}
