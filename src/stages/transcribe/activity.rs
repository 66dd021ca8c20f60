//! When somebody speaks in a recording, as a detector found it.

use std::borrow::Cow;
use std::ops::Range;

/// Voices shorter than this are clicks and coughs. This and the next two are the settings of the
/// replaced service (contract/rules.md, section 2).
const MIN_SPEECH_MS: u64 = 100;
/// Pauses shorter than this belong to the speech around them.
const MIN_SILENCE_MS: u64 = 1000;
/// What is heard before and after speech, so that no sound is cut.
const PAD_MS: u64 = 200;

/// For each short frame of a recording whether somebody speaks in it.
pub(super) struct Activity {
    frame_ms: u64,
    voiced: Vec<bool>,
}

impl Activity {
    /// Takes a detector's decision on each frame of `frame_ms` milliseconds.
    pub(super) fn new(frame_ms: u64, voiced: Vec<bool>) -> Self {
        Self { frame_ms, voiced }
    }

    /// True when nobody speaks.
    pub(super) fn is_silent(&self) -> bool {
        self.voiced.iter().all(|voiced| !voiced)
    }

    /// Share of the time between two times in which somebody speaks, 0..1.
    pub(super) fn voiced_fraction(&self, start_ms: u64, end_ms: u64) -> f32 {
        let first = ((start_ms / self.frame_ms) as usize).min(self.voiced.len());
        let last = (end_ms.div_ceil(self.frame_ms) as usize).clamp(first, self.voiced.len());
        let frames = &self.voiced[first..last];
        let voiced = frames.iter().filter(|voiced| **voiced).count();
        voiced as f32 / frames.len().max(1) as f32
    }

    /// Stretches of at least `min_ms` without speech, as start and end in milliseconds, in order.
    pub(super) fn pauses(&self, min_ms: u64) -> Vec<(u64, u64)> {
        self.runs(false)
            .filter(|run| run.end - run.start >= min_ms)
            .map(|run| (run.start, run.end))
            .collect()
    }

    /// What is worth listening to, in milliseconds and in order; the last may end after the recording.
    fn speech(&self) -> Vec<Range<u64>> {
        let mut speech: Vec<Range<u64>> = Vec::new();
        for run in self.runs(true) {
            match speech.last_mut() {
                Some(last) if run.start - last.end < MIN_SILENCE_MS => last.end = run.end,
                _ => speech.push(run),
            }
        }
        speech.retain(|range| range.end - range.start >= MIN_SPEECH_MS);
        for range in &mut speech {
            range.start = range.start.saturating_sub(PAD_MS);
            range.end += PAD_MS;
        }
        speech
    }

    /// Stretches in which nothing changes, in milliseconds.
    fn runs(&self, voiced: bool) -> impl Iterator<Item = Range<u64>> {
        let mut position = 0;
        self.voiced
            .chunk_by(|a, b| a == b)
            .map(move |run| {
                let start = position;
                position += run.len() as u64;
                (run, start * self.frame_ms..position * self.frame_ms)
            })
            .filter(move |(run, _)| run.first() == Some(&voiced))
            .map(|(_, range)| range)
    }
}

/// A recording without its long pauses, which knows where everything was.
pub(super) struct Cut<'a> {
    /// What is left.
    pub(super) samples: Cow<'a, [f32]>,
    pieces: Vec<Piece>,
}

/// A stretch that was kept; times in milliseconds.
struct Piece {
    /// Where it begins in what is left.
    at: u64,
    /// Where it was in the recording.
    from: Range<u64>,
}

impl<'a> Cut<'a> {
    /// Leaves everything as it is.
    pub(super) fn nothing(samples: &'a [f32]) -> Self {
        Self {
            samples: samples.into(),
            pieces: Vec::new(),
        }
    }

    /// Keeps speech and a little around it; what is left is empty when nobody speaks.
    pub(super) fn to_speech(samples: &'a [f32], rate_hz: u32, activity: &Activity) -> Self {
        let per_ms = (rate_hz / 1000).max(1) as usize;
        let duration_ms = samples.len().div_ceil(per_ms) as u64;
        let mut kept = Vec::new();
        let mut pieces = Vec::new();
        for range in activity.speech() {
            let from = range.start.min(duration_ms)..range.end.min(duration_ms);
            pieces.push(Piece {
                at: (kept.len() / per_ms) as u64,
                from: from.clone(),
            });
            let end = (from.end as usize * per_ms).min(samples.len());
            kept.extend_from_slice(&samples[from.start as usize * per_ms..end]);
        }
        Self {
            samples: kept.into(),
            pieces,
        }
    }

    /// The times of something heard in what is left as times in the recording. Where it touches a
    /// cut, it lies on the side where it lasts.
    pub(super) fn restore(&self, start_ms: u64, end_ms: u64) -> (u64, u64) {
        let begins = self.pieces.iter().rfind(|piece| piece.at <= start_ms);
        let ends = self.pieces.iter().rfind(|piece| piece.at < end_ms);
        let start = begins.map_or(start_ms, |piece| piece.restore(start_ms));
        let end = ends.map_or(end_ms, |piece| piece.restore(end_ms));
        (start, end.max(start))
    }
}

impl Piece {
    fn restore(&self, time_ms: u64) -> u64 {
        (self.from.start + time_ms.saturating_sub(self.at)).min(self.from.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter is 100 ms: `s` speech, anything else none.
    fn activity(frames: &str) -> Activity {
        Activity::new(100, frames.chars().map(|frame| frame == 's').collect())
    }

    #[test]
    fn pauses_and_shares_are_counted_in_frames() {
        let activity = activity("sss....s.s");
        assert_eq!(activity.pauses(200), [(300, 700)]);
        assert_eq!(activity.pauses(100), [(300, 700), (800, 900)]);
        assert!((activity.voiced_fraction(0, 600) - 0.5).abs() < 1e-6);
        assert!(activity.voiced_fraction(9_000, 9_500) < 1e-6);
        assert!(!activity.is_silent());
    }

    #[test]
    fn silence_is_silent() {
        assert!(activity("....").is_silent());
        assert!(Activity::new(30, Vec::new()).is_silent());
    }

    #[test]
    fn short_pauses_are_kept_and_short_sounds_are_not() {
        let speech = |activity: Activity| -> Vec<(u64, u64)> {
            let ranges = activity.speech().into_iter();
            ranges.map(|range| (range.start, range.end)).collect()
        };
        assert_eq!(speech(activity("....ss.........ss....")), [(200, 1900)]);
        assert_eq!(
            speech(activity("....ss..........ss....")),
            [(200, 800), (1400, 2000)],
            "a second is long"
        );
        assert_eq!(speech(Activity::new(30, vec![true, true, true, false])), []);
    }

    #[test]
    fn what_is_left_knows_where_it_was() {
        let samples: Vec<f32> = (0..3_000).map(|i| i as f32).collect();
        // Speech from 500 to 900 ms and from 2200 to 2400 ms, at one sample for each millisecond.
        let activity = activity(".....ssss.............ss......");
        let cut = Cut::to_speech(&samples, 1_000, &activity);
        assert_eq!(cut.samples.len(), 800 + 600);
        assert_eq!((cut.samples[0], cut.samples[800]), (300.0, 2_000.0));
        assert_eq!(cut.restore(0, 400), (300, 700));
        assert_eq!(cut.restore(800, 1_000), (2_000, 2_200));
        assert_eq!(
            cut.restore(100, 800),
            (400, 1_100),
            "it ends before the cut"
        );
        assert_eq!(cut.restore(700, 900), (1_000, 2_100), "it spans the cut");
        assert_eq!(cut.restore(1_300, 9_000), (2_500, 2_600));
    }

    #[test]
    fn a_recording_that_is_not_cut_keeps_its_times() {
        let cut = Cut::nothing(&[0.5; 10]);
        assert_eq!(cut.restore(3, 9), (3, 9));
        assert_eq!(cut.samples.len(), 10);
        let silent = Cut::to_speech(&[0.5; 10], 1_000, &activity("."));
        assert!(silent.samples.is_empty());
    }
}
