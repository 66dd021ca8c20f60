//! Where a recording is loud and where it is quiet: the detector that needs no model.

use super::activity::Activity;

/// Length of a frame.
const FRAME_MS: u64 = 30;
/// A frame that is not above this level holds no speech: 16-bit audio at this level moves by
/// about 30 of 32768 steps, below the noise floor of a telephone's microphone in a quiet room.
const SILENCE_DBFS: f32 = -60.0;
/// Speech is at most this much quieter than the loudest parts of the same recording.
const SPEECH_RANGE_DB: f32 = 30.0;

/// Measures mono samples in −1..1 and calls the loud frames speech; the last frame may be shorter.
pub(super) fn measure(samples: &[f32], sample_rate_hz: u32) -> Activity {
    let frame_samples = (u64::from(sample_rate_hz) * FRAME_MS / 1000).max(1) as usize;
    let frames_dbfs: Vec<f32> = samples.chunks(frame_samples).map(rms_dbfs).collect();
    let mut sorted = frames_dbfs.clone();
    sorted.sort_by(f32::total_cmp);
    // The 95th percentile, so that a click does not set the scale.
    let loud = sorted.get(sorted.len() * 95 / 100).copied();
    let voiced_dbfs = loud.map_or(SILENCE_DBFS, |loud| {
        (loud - SPEECH_RANGE_DB).max(SILENCE_DBFS)
    });
    let voiced = frames_dbfs.iter().map(|level| *level > voiced_dbfs);
    Activity::new(FRAME_MS, voiced.collect())
}

/// Root mean square of a frame in dB of full scale; −∞ for digital silence.
fn rms_dbfs(frame: &[f32]) -> f32 {
    let power =
        frame.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / frame.len().max(1) as f64;
    (10.0 * power.log10()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 16_000;

    fn tone(amplitude: f32, duration_ms: u32) -> Vec<f32> {
        (0..RATE_HZ / 1000 * duration_ms)
            .map(|i| amplitude * (i as f32 * 0.3).sin())
            .collect()
    }

    #[test]
    fn quiet_recordings_are_silent_and_soft_speech_is_not() {
        for (amplitude, silent) in [(0.0, true), (0.0005, true), (0.005, false), (0.5, false)] {
            let activity = measure(&tone(amplitude, 900), RATE_HZ);
            assert_eq!(activity.is_silent(), silent, "amplitude {amplitude}");
        }
        assert!(measure(&[], RATE_HZ).is_silent());
    }

    #[test]
    fn one_loud_moment_is_not_silence() {
        let mut samples = vec![0.0; 16_000];
        samples.extend(tone(0.1, 60));
        samples.extend(vec![0.0; 16_000]);
        assert!(!measure(&samples, RATE_HZ).is_silent());
    }

    #[test]
    fn pauses_are_found_where_they_are() {
        let mut samples = tone(0.3, 600);
        samples.extend(tone(0.001, 450));
        samples.extend(tone(0.3, 600));
        samples.extend(tone(0.0, 90));
        samples.extend(tone(0.3, 300));
        let activity = measure(&samples, RATE_HZ);
        assert_eq!(activity.pauses(300), [(600, 1050)]);
        assert!(activity.voiced_fraction(0, 600) > 0.99);
        assert!(activity.voiced_fraction(600, 1050) < 0.01);
        assert!(activity.voiced_fraction(90_000, 95_000) < 0.01);
    }
}
