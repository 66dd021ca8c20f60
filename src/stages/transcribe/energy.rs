//! Where a recording is loud and where it is quiet.

/// Length of a frame.
const FRAME_MS: u64 = 30;
/// A recording with no frame above this level holds no speech: 16-bit audio at this level moves by
/// about 30 of 32768 steps, below the noise floor of a telephone's microphone in a quiet room.
const SILENCE_DBFS: f32 = -60.0;
/// Speech is at most this much quieter than the loudest parts of the same recording.
const SPEECH_RANGE_DB: f32 = 30.0;

/// The level of each 30 ms frame of a recording.
pub(super) struct Energy {
    frames_dbfs: Vec<f32>,
    voiced_dbfs: f32,
}

impl Energy {
    /// Measures mono samples in −1..1; the last frame may be shorter.
    pub(super) fn measure(samples: &[f32], sample_rate_hz: u32) -> Self {
        let frame_samples = (u64::from(sample_rate_hz) * FRAME_MS / 1000).max(1) as usize;
        let frames_dbfs: Vec<f32> = samples.chunks(frame_samples).map(rms_dbfs).collect();
        let mut sorted = frames_dbfs.clone();
        sorted.sort_by(f32::total_cmp);
        // The 95th percentile, so that a click does not set the scale.
        let loud = sorted.get(sorted.len() * 95 / 100).copied();
        let voiced_dbfs = loud.map_or(SILENCE_DBFS, |loud| {
            (loud - SPEECH_RANGE_DB).max(SILENCE_DBFS)
        });
        Self {
            frames_dbfs,
            voiced_dbfs,
        }
    }

    /// True when nothing is loud enough to be speech.
    pub(super) fn is_silent(&self) -> bool {
        self.frames_dbfs.iter().all(|level| *level <= SILENCE_DBFS)
    }

    /// Share of the frames between two times that are loud enough to be speech, 0..1.
    pub(super) fn voiced_fraction(&self, start_ms: u64, end_ms: u64) -> f32 {
        let first = ((start_ms / FRAME_MS) as usize).min(self.frames_dbfs.len());
        let last = (end_ms.div_ceil(FRAME_MS) as usize).clamp(first, self.frames_dbfs.len());
        let frames = &self.frames_dbfs[first..last];
        let voiced = frames
            .iter()
            .filter(|level| self.is_voiced(**level))
            .count();
        voiced as f32 / frames.len().max(1) as f32
    }

    /// Quiet stretches of at least `min_ms`, as start and end in milliseconds, in order.
    pub(super) fn pauses(&self, min_ms: u64) -> Vec<(u64, u64)> {
        let mut pauses = Vec::new();
        let mut position = 0;
        for run in self
            .frames_dbfs
            .chunk_by(|a, b| self.is_voiced(*a) == self.is_voiced(*b))
        {
            let (start_ms, end_ms) = (
                position * FRAME_MS,
                (position + run.len() as u64) * FRAME_MS,
            );
            let quiet = run.first().is_some_and(|level| !self.is_voiced(*level));
            if quiet && end_ms - start_ms >= min_ms {
                pauses.push((start_ms, end_ms));
            }
            position += run.len() as u64;
        }
        pauses
    }

    fn is_voiced(&self, level: f32) -> bool {
        level > self.voiced_dbfs
    }
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
            let energy = Energy::measure(&tone(amplitude, 900), RATE_HZ);
            assert_eq!(energy.is_silent(), silent, "amplitude {amplitude}");
        }
        assert!(Energy::measure(&[], RATE_HZ).is_silent());
    }

    #[test]
    fn one_loud_moment_is_not_silence() {
        let mut samples = vec![0.0; 16_000];
        samples.extend(tone(0.1, 60));
        samples.extend(vec![0.0; 16_000]);
        assert!(!Energy::measure(&samples, RATE_HZ).is_silent());
    }

    #[test]
    fn pauses_are_found_where_they_are() {
        let mut samples = tone(0.3, 600);
        samples.extend(tone(0.001, 450));
        samples.extend(tone(0.3, 600));
        samples.extend(tone(0.0, 90));
        samples.extend(tone(0.3, 300));
        let energy = Energy::measure(&samples, RATE_HZ);
        assert_eq!(energy.pauses(300), [(600, 1050)]);
        assert!(energy.voiced_fraction(0, 600) > 0.99);
        assert!(energy.voiced_fraction(600, 1050) < 0.01);
        assert!(energy.voiced_fraction(90_000, 95_000) < 0.01);
    }
}
