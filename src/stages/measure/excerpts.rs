//! Which parts of a recording are measured.

use std::ops::Range;

use super::energy::Levels;
use crate::domain::Pcm;

/// Parts of a long recording.
const EXCERPTS: usize = 24;

/// Length of a part.
const EXCERPT_S: usize = 5;

/// Ranges of samples: the whole recording up to two minutes; of a longer one the five seconds with
/// most sound from each of 24 equal stretches, but none from a silent one.
pub(super) fn choose(levels: &Levels, pcm: &Pcm) -> Vec<Range<usize>> {
    let sounding: Vec<bool> = levels.sounding().collect();
    let length = levels.frames_in(EXCERPT_S);
    if sounding.len() <= EXCERPTS * length {
        return std::iter::once(0..pcm.samples().len()).collect();
    }
    (0..EXCERPTS)
        .map(|i| i * sounding.len() / EXCERPTS..(i + 1) * sounding.len() / EXCERPTS)
        .filter_map(|stretch| {
            let offset = most_sound(&sounding[stretch.clone()], length)?;
            let start = (stretch.start + offset) * levels.frame_samples();
            let end = start + length * levels.frame_samples();
            Some(start..end.min(pcm.samples().len()))
        })
        .collect()
}

/// Where in a stretch the part of `length` with most sound begins; `None` without any sound.
fn most_sound(stretch: &[bool], length: usize) -> Option<usize> {
    let first = stretch.get(..length)?;
    let mut inside = first.iter().filter(|sounds| **sounds).count();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Deadline;

    const RATE_HZ: usize = 1_000;

    fn chosen(samples: Vec<f32>) -> Vec<Range<usize>> {
        let pcm = Pcm::new(samples, RATE_HZ as u32);
        choose(&Levels::of(&pcm, &Deadline::none()).unwrap(), &pcm)
    }

    #[test]
    fn two_minutes_are_measured_whole() {
        for samples in [0, 1, 120 * RATE_HZ] {
            let ranges = chosen(vec![0.1; samples]);
            assert_eq!(ranges.len(), 1);
            assert_eq!(ranges.first(), Some(&(0..samples)));
        }
    }

    #[test]
    fn of_longer_ones_the_sounding_parts_are_spread_evenly() {
        // Half an hour, of every 30 s of which the last 10 sound, and nothing in the third quarter.
        let samples: Vec<f32> = (0..1800 * RATE_HZ)
            .map(|n| {
                let s = n / RATE_HZ;
                if s % 30 >= 20 && !(900..1350).contains(&s) {
                    0.1
                } else {
                    0.0
                }
            })
            .collect();
        let ranges = chosen(samples.clone());
        assert_eq!(ranges.len(), EXCERPTS * 3 / 4);
        for (i, range) in ranges.iter().enumerate() {
            assert_eq!(range.len(), EXCERPT_S * RATE_HZ);
            assert!(samples[range.clone()].iter().all(|sample| *sample > 0.0));
            let stretch = range.start / (75 * RATE_HZ);
            assert_eq!(stretch, if i < 12 { i } else { i + 6 });
        }
    }

    #[test]
    fn a_low_rate_does_not_make_parts_longer() {
        let pcm = Pcm::new(vec![0.1; 4_000], 10);
        let ranges = choose(&Levels::of(&pcm, &Deadline::none()).unwrap(), &pcm);
        assert_eq!(ranges.len(), EXCERPTS);
        assert!(ranges.iter().all(|range| range.len() == 10 * EXCERPT_S));
    }
}
