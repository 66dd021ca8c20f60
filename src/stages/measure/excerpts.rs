//! Which parts of a recording are measured.

use std::ops::Range;

use super::energy::{FRAMES_PER_SECOND, Levels};
use crate::domain::Pcm;

/// Parts of a long recording.
const EXCERPTS: usize = 24;

/// Length of a part, in frames: 5 s.
const EXCERPT_FRAMES: usize = 5 * FRAMES_PER_SECOND;

/// Ranges of samples: the whole recording up to two minutes; of a longer one the five seconds with
/// most sound from each of 24 equal stretches, but none from a silent one.
pub(super) fn choose(levels: &Levels, pcm: &Pcm) -> Vec<Range<usize>> {
    let sounding: Vec<bool> = levels.sounding().collect();
    if sounding.len() <= EXCERPTS * EXCERPT_FRAMES {
        return vec![0..pcm.samples().len()];
    }
    (0..EXCERPTS)
        .map(|i| i * sounding.len() / EXCERPTS..(i + 1) * sounding.len() / EXCERPTS)
        .filter_map(|stretch| loudest(&sounding[stretch.clone()]).map(|at| stretch.start + at))
        .map(|first| {
            let start = first * levels.frame_samples();
            let end = start + EXCERPT_FRAMES * levels.frame_samples();
            start..end.min(pcm.samples().len())
        })
        .collect()
}

/// Where in a stretch the part with most sound begins; `None` without any sound.
fn loudest(stretch: &[bool]) -> Option<usize> {
    let count = |frames: &[bool]| frames.iter().filter(|sounds| **sounds).count();
    let length = EXCERPT_FRAMES.min(stretch.len());
    let mut inside = count(&stretch[..length]);
    let mut best = (inside, 0);
    for start in 1..=stretch.len() - length {
        inside += usize::from(stretch[start + length - 1]);
        inside -= usize::from(stretch[start - 1]);
        if inside > best.0 {
            best = (inside, start);
        }
    }
    (best.0 > 0).then_some(best.1)
}
