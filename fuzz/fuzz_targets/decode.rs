//! A recording, from the look at its container to samples within the limits, or an error.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use meeshy_translator_fuzz::domain::Deadline;
use meeshy_translator_fuzz::stages::decode::{DecodeLimits, decode, quality_warnings};

fuzz_target!(
    // A panic inside a demuxer or codec is caught and counts as damage; only one that gets out of `decode`
    // is a finding. libFuzzer's hook would end the process for both.
    init: std::panic::set_hook(Box::new(|_| {})),
    |data: &[u8]| {
        let limits = DecodeLimits {
            max_bytes: 1 << 20,
            max_duration_ms: 10_000,
            max_decoded_bytes: 4 << 20,
            ..DecodeLimits::default()
        };
        let Ok(decoded) = decode(data, &limits, &Deadline::after(Duration::from_secs(5))) else {
            return;
        };
        assert!(!decoded.pcm.samples().is_empty());
        assert!(decoded.pcm.duration_ms() <= limits.max_duration_ms);
        assert!(4 * decoded.pcm.samples().len() <= limits.max_decoded_bytes);
        assert!(decoded.pcm.samples().iter().all(|sample| sample.is_finite()));
        quality_warnings(&decoded.pcm);
    }
);
