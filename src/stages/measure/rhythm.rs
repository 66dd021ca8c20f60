//! Speech rate.
//!
//! Syllables are counted as N. H. de Jong and T. Wempe do ("Praat script to detect syllable nuclei and
//! measure speech rate automatically", Behavior Research Methods 41 (2009), 385–390): maxima of the
//! intensity that rise and fall by at least 2 dB, are not silent, and are voiced.

use super::pitch::Track;
use super::{HOP, centre};

/// Rise before and fall after the nucleus of a syllable.
const MIN_DIP_DB: f32 = 2.0;

/// Weights of neighbouring frames in the intensity, a Hann window over 80 ms: periods of the voice must not
/// show in it.
const SMOOTHING: [f32; 7] = [0.0366, 0.125, 0.2134, 0.25, 0.2134, 0.125, 0.0366];

/// Nuclei heard for each word: words of running speech have about one and a half syllables, and one in
/// ten nuclei merges with its neighbour. Measured on six readings of known English texts, which
/// come out between 25 % too slow and 20 % too fast.
const NUCLEI_PER_WORD: f64 = 1.35;

/// Counts the syllables of one excerpt after the other.
pub(super) struct SyllableCounter {
    silence_db: f32,
    syllables: u64,
}

impl SyllableCounter {
    /// For a recording that is silent below this root mean square.
    pub(super) fn new(silence_level: f32) -> Self {
        Self {
            silence_db: 20.0 * silence_level.log10(),
            syllables: 0,
        }
    }

    /// Adds an excerpt.
    pub(super) fn add(&mut self, samples: &[f32], track: &Track) {
        let intensity_db = intensity_db(samples, track.len());
        // The highest value since the last dip, and the lowest since the last nucleus.
        let mut highest: Option<(usize, f32)> = None;
        let mut lowest = f32::NEG_INFINITY;
        for (frame, &level) in intensity_db.iter().enumerate() {
            if let Some((nucleus, peak)) = highest {
                if level > peak {
                    highest = Some((frame, level));
                } else if level <= peak - MIN_DIP_DB {
                    self.count(peak, track[nucleus].is_some());
                    highest = None;
                    lowest = level;
                }
            } else if level >= lowest + MIN_DIP_DB {
                highest = Some((frame, level));
            } else {
                lowest = lowest.min(level);
            }
        }
        if let Some((nucleus, peak)) = highest {
            self.count(peak, track[nucleus].is_some());
        }
    }

    fn count(&mut self, peak_db: f32, is_voiced: bool) {
        self.syllables += u64::from(is_voiced && peak_db >= self.silence_db);
    }

    /// Words that have so many syllables.
    pub(super) fn words(&self) -> f64 {
        self.syllables as f64 / NUCLEI_PER_WORD
    }
}

/// The intensity of each frame, in dB of full scale.
fn intensity_db(samples: &[f32], frames: usize) -> Vec<f32> {
    let powers: Vec<f32> = (0..frames)
        .map(|frame| {
            let around = &samples[centre(frame) - HOP / 2..centre(frame) + HOP / 2];
            around.iter().map(|sample| sample * sample).sum::<f32>() / HOP as f32
        })
        .collect();
    let reach = SMOOTHING.len() / 2;
    (0..frames)
        .map(|frame| {
            let power: f32 = SMOOTHING
                .iter()
                .enumerate()
                .filter_map(|(n, weight)| {
                    Some(weight * powers.get((frame + n).checked_sub(reach)?)?)
                })
                .sum();
            10.0 * power.max(f32::MIN_POSITIVE).log10()
        })
        .collect()
}

/// `count` things in `seconds`, for each minute.
pub(super) fn per_minute(count: f64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count * 60.0 / seconds
    } else {
        0.0
    }
}
