//! Expected likeness of a cloned voice, from how much of the speaker was heard.

/// Quality in 0..1 of a voice made from `audio_count` recordings of `total_duration_ms` together.
///
/// 0.3 below 10 s, 0.5 below 30 s, 0.7 below 60 s, else 0.9; 0.05 more for each further recording,
/// at most 0.1; never above 1.
pub fn of_new_voice(total_duration_ms: u64, audio_count: u32) -> f32 {
    let by_duration = match total_duration_ms {
        0..10_000 => 0.3,
        10_000..30_000 => 0.5,
        30_000..60_000 => 0.7,
        _ => 0.9,
    };
    let further = audio_count.saturating_sub(1).min(2) as f32 * 0.05;
    (by_duration + further).min(1.0)
}

/// Quality after one more recording improved the voice.
pub fn of_improved_voice(before: f32) -> f32 {
    (before + 0.05).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (duration_ms, count, expected) in [
            (9_999, 1, 0.3),
            (10_000, 1, 0.5),
            (30_000, 1, 0.7),
            (60_000, 1, 0.9),
            (60_000, 2, 0.95),
            (60_000, 9, 1.0),
            (0, 0, 0.3),
        ] {
            let quality = of_new_voice(duration_ms, count);
            assert!(
                (quality - expected).abs() < 1e-6,
                "{duration_ms} ms × {count}: {quality}"
            );
        }
        assert!((of_improved_voice(0.3) - 0.35).abs() < 1e-6);
        assert!((of_improved_voice(0.98) - 1.0).abs() < 1e-6);
    }
}
