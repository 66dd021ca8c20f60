use serde_json::Value;

use super::*;
use crate::onnx::testing::{
    Parity, assert_close, fixture, golden_signal, goldens, numbers, onnx, read_goldens,
};
use crate::stages::StageError;

const RATE: u32 = 22_050;

fn engine() -> ConditioningEngine {
    load(&fixture("xtts"))
}

fn load(directory: &Path) -> ConditioningEngine {
    ConditioningEngine::load(&onnx(), directory, 1).unwrap()
}

/// A tone that glides, so that no two stretches are alike.
fn glide(seconds: f64, from_hz: f64) -> Pcm {
    let samples: Vec<f32> = (0..(seconds * f64::from(RATE)) as usize)
        .map(|i| {
            let t = i as f64 / f64::from(RATE);
            (0.5 * (std::f64::consts::TAU * (from_hz + 20.0 * t) * t).sin()) as f32
        })
        .collect();
    Pcm::new(samples, RATE)
}

fn run(
    engine: &mut ConditioningEngine,
    references: Vec<Pcm>,
) -> Result<Conditioning, SynthesizeError> {
    assert_eq!(engine.vacancies(), 1);
    engine.join(
        Ticket(3),
        ConditioningRequest {
            references,
            deadline: Deadline::none(),
        },
    );
    assert_eq!(engine.vacancies(), 0);
    let mut done = engine.step();
    assert!(engine.is_idle());
    let (ticket, result) = done.remove(0);
    assert_eq!(ticket, Ticket(3));
    result
}

#[test]
fn a_voice_has_the_sizes_of_the_model() {
    let mut engine = engine();
    let low = run(&mut engine, vec![glide(5.0, 110.0)]).unwrap();
    let high = run(&mut engine, vec![glide(5.0, 440.0)]).unwrap();
    assert_eq!(
        low.latents.len(),
        engine.metadata.cond_len * engine.metadata.width
    );
    assert_eq!(low.speaker_embedding.len(), engine.metadata.speaker_dim);
    assert_ne!(low, high);
}

#[test]
fn references_are_joined_in_pieces_and_averaged() {
    let mut engine = engine();
    // 9 + 3 s make three pieces of 4 s; the second one spans both references.
    let (first, second) = (glide(9.0, 110.0), glide(3.0, 300.0));
    let both = run(&mut engine, vec![first.clone(), second.clone()]).unwrap();
    let joined: Vec<f32> = first
        .samples()
        .iter()
        .chain(second.samples())
        .copied()
        .collect();
    let mut latents = Mean::default();
    for piece in joined.chunks(4 * RATE as usize) {
        latents.add(&engine.condition_piece(piece).unwrap());
    }
    assert_eq!(latents.count, 3);
    assert_eq!(*both.latents, *latents.values);
    let mut speaker = Mean::default();
    speaker.add(&engine.embed_speaker(first.samples()).unwrap());
    speaker.add(&engine.embed_speaker(second.samples()).unwrap());
    assert_eq!(*both.speaker_embedding, *speaker.values);
}

#[test]
fn short_tails_and_what_is_beyond_thirty_seconds_do_not_count() {
    let mut engine = engine();
    let whole = glide(40.0, 150.0);
    let head = |seconds: f64| {
        Pcm::new(
            &whole.samples()[..(seconds * f64::from(RATE)) as usize],
            RATE,
        )
    };
    let four = run(&mut engine, vec![head(4.0)]).unwrap();
    // The tail of 0.3 s is no piece of its own; it does count for the speaker embedding.
    assert_eq!(
        run(&mut engine, vec![head(4.3)]).unwrap().latents,
        four.latents
    );
    assert_ne!(
        run(&mut engine, vec![head(4.4)]).unwrap().latents,
        four.latents
    );
    assert_eq!(
        run(&mut engine, vec![whole.clone()]).unwrap(),
        run(&mut engine, vec![head(30.0)]).unwrap()
    );
    let with_click = run(&mut engine, vec![head(0.2), head(4.0)]).unwrap();
    assert_eq!(with_click, four);
}

#[test]
fn samples_beyond_full_scale_are_clipped() {
    let mut engine = engine();
    let tone = glide(2.0, 200.0);
    let loud = |gain: f32| {
        Pcm::new(
            tone.samples().iter().map(|x| x * gain).collect::<Vec<_>>(),
            RATE,
        )
    };
    let clipped = Pcm::new(
        loud(4.0)
            .samples()
            .iter()
            .map(|x| x.clamp(-1.0, 1.0))
            .collect::<Vec<_>>(),
        RATE,
    );
    assert_eq!(
        run(&mut engine, vec![loud(4.0)]).unwrap(),
        run(&mut engine, vec![clipped]).unwrap()
    );
    let mut broken = tone.samples().to_vec();
    broken[5] = f32::NAN;
    assert!(run(&mut engine, vec![Pcm::new(broken, RATE)]).is_ok());
}

#[test]
fn what_cannot_be_a_voice_is_refused() {
    let mut engine = engine();
    let mut reason = |references| run(&mut engine, references).unwrap_err().reason().as_str();
    assert_eq!(reason(vec![]), "audio_too_short");
    assert_eq!(
        reason(vec![glide(0.3, 200.0), glide(0.2, 200.0)]),
        "audio_too_short"
    );
    assert_eq!(
        reason(vec![Pcm::new(vec![0.0; 48_000], 48_000)]),
        "internal"
    );
    let deadline = Deadline::none();
    deadline.cancel();
    engine.join(
        Ticket(0),
        ConditioningRequest {
            references: vec![glide(2.0, 200.0)],
            deadline,
        },
    );
    let (_, result) = engine.step().remove(0);
    assert_eq!(result.unwrap_err().reason().as_str(), "cancelled");
}

#[test]
fn silence_is_a_voice_too() {
    // Instance norm over constant bands divides by nearly zero: the result must still be finite.
    assert!(
        run(
            &mut engine(),
            vec![Pcm::new(vec![0.0; 2 * RATE as usize], RATE)]
        )
        .is_ok()
    );
}

/// Returns the largest differences of conditioning and speaker embedding to the golden vectors.
fn compare_with_reference(engine: &mut ConditioningEngine, goldens: &Value) -> (f32, f32) {
    let signal = |golden: &serde_json::Value| {
        let number = |key: &str| golden[key].as_u64().unwrap() as u32;
        golden_signal(
            number("samples") as usize,
            number("rate_hz"),
            number("seed"),
        )
    };
    let golden = &goldens["conditioning"];
    let voice = run(engine, vec![Pcm::new(signal(golden), RATE)]).unwrap();
    let expected = numbers(&golden["mean_cond_latents"]);
    let conditioning = assert_close(&voice.latents, &expected, 1e-4, "conditioning latents");

    // The golden vector begins at 16 kHz, behind the resampler.
    let golden = &goldens["speaker"];
    let audio = signal(golden);
    let embedding = super::run(
        &mut engine.speaker_encoder,
        "audio_16k",
        "speaker_embedding",
        &audio,
    );
    let expected = numbers(&golden["speaker_embedding"]);
    let speaker = assert_close(&embedding.unwrap(), &expected, 1e-4, "speaker embedding");
    (conditioning, speaker)
}

#[test]
fn conditioning_and_speaker_embedding_are_those_of_the_reference() {
    compare_with_reference(&mut engine(), &goldens("xtts.json"));
}

#[test]
fn conditioning_of_real_dimensions_is_that_of_the_reference() {
    let Some(parity) = Parity::find() else {
        return;
    };
    let mut engine = load(&parity.model("xtts"));
    let goldens = read_goldens(&parity.goldens("xtts.json"));
    let (conditioning, speaker) = compare_with_reference(&mut engine, &goldens);
    Parity::report("XTTS conditioning", &format!("within {conditioning:.1e}"));
    Parity::report("XTTS speaker embedding", &format!("within {speaker:.1e}"));
}
