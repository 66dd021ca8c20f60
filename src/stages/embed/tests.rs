use std::process::Command;

use serde_json::Value;

use super::*;
use crate::onnx::testing::{
    Parity, assert_close, fixture, golden_signal, goldens, numbers, onnx, read_goldens, shared,
};
use crate::stages::StageError;

fn load(model: &Path) -> OpenVoiceEngine {
    OpenVoiceEngine::load(&onnx(), model, 1).unwrap()
}

fn run(
    engine: &mut OpenVoiceEngine,
    pcm: Pcm,
    deadline: Deadline,
) -> Result<SpeakerEmbedding, EmbedError> {
    assert_eq!(engine.vacancies(), 1);
    engine.join(Ticket(9), EmbedRequest { pcm, deadline });
    let (ticket, result) = engine.step().remove(0);
    assert_eq!(ticket, Ticket(9));
    assert!(engine.is_idle());
    result
}

fn tone(seconds: f64, hz: f64) -> Pcm {
    let samples: Vec<f32> = (0..(seconds * f64::from(SAMPLE_RATE_HZ)) as usize)
        .map(|i| {
            (0.4 * (std::f64::consts::TAU * hz * i as f64 / f64::from(SAMPLE_RATE_HZ)).sin()) as f32
        })
        .collect();
    Pcm::new(samples, SAMPLE_RATE_HZ)
}

/// Returns the largest difference to the golden embeddings.
fn compare_with_reference(engine: &mut OpenVoiceEngine, goldens: &Value, tolerance: f32) -> f32 {
    let cases = goldens["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    let mut largest = 0.0f32;
    for case in cases {
        let number = |key: &str| case[key].as_u64().unwrap() as u32;
        let samples = number("samples") as usize;
        let signal = golden_signal(samples, number("rate_hz"), number("seed"));
        let embedding = engine.embed_piece(&signal).unwrap();
        let label = format!("{samples} samples");
        let difference = assert_close(&embedding, &numbers(&case["se"]), tolerance, &label);
        largest = largest.max(difference);
    }
    largest
}

#[test]
fn embeddings_are_those_of_the_reference() {
    let mut engine = load(&fixture("openvoice/tone_embedding.onnx"));
    compare_with_reference(&mut engine, &goldens("openvoice.json"), 1e-4);
}

#[test]
fn embeddings_of_real_dimensions_are_those_of_the_reference() {
    let Some(parity) = Parity::find() else {
        return;
    };
    let mut engine = load(&parity.model("openvoice/tone_embedding.onnx"));
    let goldens = read_goldens(&parity.goldens("openvoice.json"));
    let largest = compare_with_reference(&mut engine, &goldens, 1e-5);
    Parity::report("OpenVoice embedding", &format!("within {largest:.1e}"));
}

#[test]
fn pieces_are_equal_and_as_many_as_the_reference_makes() {
    let second = SAMPLE_RATE_HZ as usize;
    for (seconds, row, column) in [
        (2, 1, 1),
        (5, 1, 1),
        (10, 1, 1),
        (14, 1, 2),
        (15, 2, 2),
        (25, 2, 3),
        (26, 3, 3),
    ] {
        assert_eq!(
            pieces(seconds * second, Layout::RowOfSamples).len(),
            row,
            "{seconds} s"
        );
        let columns = pieces(seconds * second, Layout::ColumnOfSamples);
        assert_eq!(columns.len(), column, "{seconds} s");
        assert!(columns.iter().all(|piece| piece.len() <= 10 * second));
        assert_eq!(columns.first().map(|piece| piece.start), Some(0));
        assert_eq!(
            columns.last().map(|piece| piece.end),
            Some(seconds * second)
        );
        assert!(columns.windows(2).all(|pair| pair[0].end == pair[1].start));
    }
}

#[test]
fn long_recordings_are_the_mean_of_their_pieces() {
    let mut engine = load(&fixture("openvoice/tone_embedding.onnx"));
    let (low, high) = (tone(10.0, 120.0), tone(10.0, 500.0));
    let joined: Vec<f32> = low
        .samples()
        .iter()
        .chain(high.samples())
        .copied()
        .collect();
    let mut embed = |pcm| run(&mut engine, pcm, Deadline::none()).unwrap();
    let (low, high) = (embed(low), embed(high));
    let both = embed(Pcm::new(joined, SAMPLE_RATE_HZ));
    assert_ne!(low, high);
    for ((a, b), mean) in low.0.iter().zip(high.0.iter()).zip(both.0.iter()) {
        assert!(((a + b) / 2.0 - mean).abs() < 1e-6);
    }
}

#[test]
fn what_has_no_voice_is_refused() {
    let mut engine = load(&fixture("openvoice/tone_embedding.onnx"));
    let mut reason = |pcm| {
        let error = run(&mut engine, pcm, Deadline::none()).unwrap_err();
        error.reason().as_str()
    };
    assert_eq!(reason(tone(1.4, 200.0)), "audio_too_short");
    assert_eq!(reason(Pcm::new(vec![], SAMPLE_RATE_HZ)), "audio_too_short");
    assert_eq!(reason(Pcm::new(vec![0.1; 48_000], 16_000)), "internal");
    let deadline = Deadline::none();
    deadline.cancel();
    let error = run(&mut engine, tone(2.0, 200.0), deadline).unwrap_err();
    assert_eq!(error.reason().as_str(), "cancelled");
}

#[test]
fn another_model_is_refused() {
    let error = OpenVoiceEngine::load(&onnx(), &fixture("xtts/vocoder_frames.onnx"), 1)
        .err()
        .unwrap();
    assert!(matches!(error, EmbedError::Signature(_)), "{error}");
    let error = OpenVoiceEngine::load(&onnx(), Path::new("missing.onnx"), 1)
        .err()
        .unwrap();
    assert_eq!(error.reason().as_str(), "model_unavailable");
}

#[test]
fn the_published_extractor_tells_speakers_apart() {
    let (Some(model), Some(recordings)) = (
        shared("models/speaker/openvoice-ref-enc/speaker_embedding_extractor.onnx"),
        shared("audio"),
    ) else {
        return;
    };
    let mut engine = load(&model);
    assert_eq!(engine.layout, Layout::ColumnOfSamples);
    let mut voices: Vec<(String, SpeakerEmbedding)> = Vec::new();
    for set in ["librispeech", "ljspeech"] {
        for entry in std::fs::read_dir(recordings.join(set)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if set == "ljspeech" && name.ends_with(".flac") {
                continue; // the same recording as the wav beside it
            }
            let speaker = name.split('-').next().unwrap().to_owned();
            let pcm = read_with_ffmpeg(&path);
            voices.push((speaker, run(&mut engine, pcm, Deadline::none()).unwrap()));
        }
    }
    assert_eq!(voices.len(), 12);
    for (i, (speaker, voice)) in voices.iter().enumerate() {
        for (other_speaker, other) in &voices[..i] {
            let similarity = voice.cosine_similarity(other);
            if speaker.starts_with("LJ") && other_speaker.starts_with("LJ")
                || speaker == other_speaker
            {
                assert!(
                    similarity >= 0.85,
                    "{speaker} and {other_speaker}: {similarity}"
                );
            } else {
                assert!(
                    similarity <= 0.75,
                    "{speaker} and {other_speaker}: {similarity}"
                );
            }
        }
    }
}

fn read_with_ffmpeg(path: &Path) -> Pcm {
    let rate = SAMPLE_RATE_HZ.to_string();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-ac", "1", "-ar", &rate, "-f", "f32le", "-"])
        .output()
        .expect("this test needs ffmpeg");
    assert!(
        output.status.success(),
        "ffmpeg could not read {}",
        path.display()
    );
    let samples: Vec<f32> = output
        .stdout
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    Pcm::new(samples, SAMPLE_RATE_HZ)
}
