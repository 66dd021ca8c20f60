//! Writes the seeds of every fuzz target: `seeds <repository> <corpus folder>`. Made each time, not
//! committed. Built by rustc alone, so nothing but the standard library is here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "without seeds there is nothing to do"
)]

#[path = "../tests/support/broken_audio.rs"]
mod broken_audio;

use std::fs;
use std::path::Path;

/// Every so manieth broken recording: the fuzzer breaks the others itself.
const STEP: usize = 12;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, repository, corpus] = &arguments[..] else {
        panic!("usage: seeds <repository> <corpus folder>");
    };
    let (repository, corpus) = (Path::new(repository), Path::new(corpus));

    let mut texts = vec![
        "Hello *you*,\r\n\n- see https://a.example/b?c and `code` 👩‍👩‍👧 at 10:30!\n```\nx = 1\n```\n"
            .to_owned(),
        "> 3. @somebody #tag me@a.example ¿Qué? 你好。".to_owned(),
    ];
    for entry in fs::read_dir(repository.join("tests/fixtures/protocol/requests")).unwrap() {
        let path = entry.unwrap().path();
        let json = fs::read(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        put(corpus, "request", name, &json);
        put(
            corpus,
            "request",
            &format!("{name}.frames"),
            &[&json, &b"\xffaudio\xffvoice"[..]].concat(),
        );
        put(corpus, "ledger", name, &json);
        texts.push(String::from_utf8(json).unwrap());
    }
    for (number, text) in texts.iter().enumerate() {
        put(corpus, "structure", &number.to_string(), text.as_bytes());
    }

    for (kind, width, shape) in [
        ("<f4", 4, "(256,)"),
        ("<f2", 2, "(1, 256, 1)"),
        ("<f8", 8, "(256, 1)"),
    ] {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let values: Vec<u8> = (0..256 * width)
            .map(|n| if n % width == width - 1 { 0x3c } else { 1 })
            .collect();
        let length = (header.len() as u16).to_le_bytes();
        let file = [&b"\x93NUMPY\x01\0"[..], &length, header.as_bytes(), &values].concat();
        put(corpus, "embedding", &format!("npy{width}"), &file);
        put(corpus, "embedding", &format!("bare{width}"), &values);
    }
    put(
        corpus,
        "embedding",
        "pickle",
        b"\x80\x04\x95\x0a\0\0\0\0\0\0\0\x8c\x01a\x94.",
    );

    // As fuzz_targets/ledger.rs reads it: whether there is a log, changes, an end.
    for (name, has_log, in_log) in [("closed", 0, 0), ("killed", 1, 0), ("log", 1, 0x08)] {
        put(corpus, "ledger", &format!("intact {name}"), &[has_log]);
        for place in 0..64_u16 {
            let [low, high] = (place * 67).to_le_bytes();
            let change = [has_log, low, high, in_log, 0xff];
            put(
                corpus,
                "ledger",
                &format!("changed {name} {place}"),
                &change,
            );
        }
    }
    put(corpus, "ledger", "cut database", &[0, 0xff, 0x7f]);
    put(
        corpus,
        "ledger",
        "cut database beside log",
        &[1, 0xff, 0x7f],
    );
    put(corpus, "ledger", "cut log", &[1, 0xff, 0x7f, 0]);

    let recording = repository.join("models/fixtures/audio/voice_message.ogg");
    let intact =
        broken_audio::intact_files(&recording, corpus).expect("ffmpeg makes the recordings");
    for (name, bytes) in broken_audio::broken_files(&intact, 1)
        .step_by(STEP)
        .chain(intact.clone())
    {
        // Longer ones take long and say no more.
        if bytes.len() <= 64 << 10 {
            put(corpus, "decode", &name.replace('/', "_"), &bytes);
        }
    }
    fs::remove_file(corpus.join("encoded")).unwrap();
}

fn put(corpus: &Path, target: &str, name: &str, bytes: &[u8]) {
    let folder = corpus.join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}
