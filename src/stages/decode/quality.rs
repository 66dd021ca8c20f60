//! Warnings about recordings that are hard to understand or to clone; never a failure.

use crate::domain::Pcm;

/// What is wrong with a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QualityWarning {
    /// Its mean power is below −40 dB of full scale.
    Quiet,
    /// More than 5 % of the samples are at full scale.
    Clipped,
    /// More than 70 % of the time is silent.
    MostlySilent,
    /// The loud parts are less than 10 dB above the quiet ones.
    Noisy,
}

/// Samples from here on count as clipped.
const FULL_SCALE: f32 = 0.99;
/// Frames below this power (−50 dB) count as silent: ten decibels under what counts as quiet.
const SILENCE_POWER: f32 = 1e-5;
/// Frames per second, of 20 ms.
const FRAMES_PER_SECOND: usize = 50;

/// Lists what is wrong with `pcm`. The signal-to-noise ratio is estimated as the power of the frame
/// louder than nine tenths of all over that of the frame louder than one tenth.
pub fn quality_warnings(pcm: &Pcm) -> Vec<QualityWarning> {
    let samples = pcm.samples();
    let frame_samples = (pcm.sample_rate_hz() as usize / FRAMES_PER_SECOND).max(1);
    let mut powers: Vec<f32> = samples.chunks(frame_samples).map(mean_power).collect();
    powers.sort_by(f32::total_cmp);
    let percentile = |tenths: usize| {
        powers
            .get(powers.len() * tenths / 10)
            .copied()
            .unwrap_or(0.0)
    };
    let clipped = samples
        .iter()
        .filter(|sample| sample.abs() >= FULL_SCALE)
        .count();
    let silent = powers.partition_point(|&power| power < SILENCE_POWER);

    let findings = [
        (decibels(mean_power(samples)) < -40.0, QualityWarning::Quiet),
        (clipped * 100 > samples.len() * 5, QualityWarning::Clipped),
        (
            silent * 100 > powers.len() * 70,
            QualityWarning::MostlySilent,
        ),
        (
            decibels(percentile(9)) - decibels(percentile(1)) < 10.0,
            QualityWarning::Noisy,
        ),
    ];
    let found = findings.into_iter().filter(|(applies, _)| *applies);
    found.map(|(_, warning)| warning).collect()
}

fn mean_power(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32
}

/// Power in decibels, with a floor far below anything audible.
fn decibels(power: f32) -> f32 {
    10.0 * power.max(1e-12).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings_of(second: impl Fn(usize) -> f32) -> Vec<QualityWarning> {
        quality_warnings(&Pcm::new(
            (0..16_000).map(second).collect::<Vec<_>>(),
            16_000,
        ))
    }

    #[test]
    fn each_fault_is_named() {
        let tone = |n: usize| (n as f32 * 0.3).sin();
        // Words with pauses: loud and quiet by turns.
        let speech = |n: usize| tone(n) * if n / 4000 % 2 == 0 { 0.3 } else { 0.01 };
        assert_eq!(warnings_of(speech), []);
        assert_eq!(warnings_of(|n| speech(n) * 0.02), [QualityWarning::Quiet]);
        assert_eq!(
            warnings_of(|n| (speech(n) * 10.0).clamp(-1.0, 1.0)),
            [QualityWarning::Clipped]
        );
        let rare = |n: usize| if n < 4000 { tone(n) * 0.5 } else { 0.0 };
        assert_eq!(warnings_of(rare), [QualityWarning::MostlySilent]);
        assert_eq!(warnings_of(|n| tone(n) * 0.3), [QualityWarning::Noisy]);
    }

    #[test]
    fn an_empty_recording_is_quiet() {
        assert!(quality_warnings(&Pcm::new(Vec::new(), 16_000)).contains(&QualityWarning::Quiet));
    }
}
