//! A speaker embedding as other writers keep it: finite values that say something, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meeshy_translator_fuzz::domain::voice::SpeakerEmbedding;
use meeshy_translator_fuzz::voices::foreign::{bare_embedding, npy_embedding};

fuzz_target!(|data: &[u8]| {
    let check = |SpeakerEmbedding(values): SpeakerEmbedding| {
        assert!((1..=4_096).contains(&values.len()));
        assert!(values.iter().all(|value| value.is_finite()));
        assert!(values.iter().any(|value| *value != 0.0));
    };
    bare_embedding(data).map(check);
    npy_embedding(data).map(check).ok();
});
