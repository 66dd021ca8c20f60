//! A message from the gateway, from its frames to what intake makes of them: the job's keys, or an answer.
//! Frames are separated by a byte that no JSON has.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use meeshy_translator_fuzz::protocol::{Timestamp, parse};

fuzz_target!(|data: &[u8]| {
    let frames: Vec<Bytes> = data
        .split(|byte| *byte == 0xff)
        .map(Bytes::copy_from_slice)
        .collect();
    match parse(&frames) {
        Ok(mut request) => {
            request.set_task_id("task".to_owned());
            let key = request.dedup_key();
            // What the ledger kept is read again after a restart, and must be the same request.
            let mut again = parse(&frames).expect("it was a request before");
            again.set_task_id("task".to_owned());
            assert_eq!(again.dedup_key(), key);
            assert_eq!(again.kind(), request.kind());
            assert_eq!(again.user_id(), request.user_id());
            assert!(!format!("{request:?}").is_empty());
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.reason().as_str().is_empty());
            let error = error.of_oversized_message();
            if let Some(event) = error.answer(Timestamp::now()) {
                let frames = event.frames().expect("events have a JSON form");
                let json: serde_json::Value = serde_json::from_slice(&frames[0]).expect("JSON");
                assert_eq!(json["type"], event.kind());
            }
        }
    }
});
