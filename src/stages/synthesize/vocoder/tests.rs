use super::*;
use crate::onnx::testing::{fixture, onnx};
use crate::stages::synthesize::metadata::Ratio;

fn wave(length: usize, step: f32) -> Vec<f32> {
    (0..length).map(|i| (i as f32 * step).sin()).collect()
}

fn vocoder() -> (Vocoder, XttsMetadata) {
    let directory = fixture("xtts");
    let metadata = XttsMetadata::read(&directory).unwrap();
    let vocoder = Vocoder::load(
        &onnx(),
        &directory.join("vocoder_frames.onnx"),
        &metadata,
        1,
    )
    .unwrap();
    (vocoder, metadata)
}

/// Runs the windows that can be had.
fn run_windows(vocoder: &mut Vocoder, waveform: &mut Waveform, speaker: &[f32]) -> usize {
    let mut windows = 0;
    while let Some(window) = waveform.next_window() {
        let frame = window.first_frame();
        waveform.accept(frame, &vocoder.run(&window, speaker).unwrap());
        windows += 1;
    }
    windows
}

fn vocode(vocoder: &mut Vocoder, latents: &[f32], speaker: &[f32]) -> Vec<f32> {
    let mut waveform = Waveform::new(vocoder.windowing);
    waveform.push(latents);
    waveform.complete();
    run_windows(vocoder, &mut waveform, speaker);
    assert!(waveform.is_whole());
    waveform.into_samples()
}

#[test]
fn windows_join_to_what_the_whole_gives() {
    let (mut vocoder, metadata) = vocoder();
    let speaker = wave(metadata.speaker_dim, 0.7);
    // Windows of every kind: alone, first and last, a last one shorter than its context.
    for codes in [1, 2, 40, 41, 100, 187] {
        let latents = wave(codes * metadata.width, 0.31);
        let stitched = vocode(&mut vocoder, &latents, &speaker);
        let frames = vocoder.windowing.interpolation.frames(codes);
        let whole = Window {
            latents,
            first_latent: 0,
            known_latents: codes,
            run: 0..frames,
            emit: 0..frames,
        };
        let whole = vocoder.run(&whole, &speaker).unwrap();

        assert_eq!(stitched.len(), frames * metadata.frame_samples);
        assert!(
            whole.iter().any(|sample| sample.abs() > 1e-3),
            "the test signal is silent"
        );
        let difference = stitched
            .iter()
            .zip(&whole)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        // Convolution kernels may sum in another order for another length.
        assert!(difference <= 1e-6, "{codes} codes: {difference}");
    }
}

#[test]
fn windows_of_a_running_unit_are_those_of_the_complete_one() {
    let (mut vocoder, metadata) = vocoder();
    let speaker = wave(metadata.speaker_dim, 0.7);
    // Ends right before, at and after the code that makes a window certain, and far from it.
    for codes in [39, 40, 41, 42, 43, 44, 45, 46, 84, 100, 187] {
        let latents = wave(codes * metadata.width, 0.31);
        let mut waveform = Waveform::new(vocoder.windowing);
        let mut early = 0;
        for latent in latents.chunks_exact(metadata.width) {
            waveform.push(latent);
            early += run_windows(&mut vocoder, &mut waveform, &speaker);
            assert!(!waveform.is_whole());
        }
        waveform.complete();
        let late = run_windows(&mut vocoder, &mut waveform, &speaker);
        assert!(waveform.is_whole());
        assert!(late >= 1);
        // 44 latents make the first 174 + 13 frames certain.
        assert_eq!(early, (codes - 4) / 40, "{codes} codes");
        let expected = vocode(&mut vocoder, &latents, &speaker);
        assert_eq!(waveform.into_samples(), expected, "{codes} codes");
    }
}

#[test]
fn windows_may_come_back_in_any_order() {
    let (mut vocoder, metadata) = vocoder();
    let speaker = wave(metadata.speaker_dim, 0.7);
    let latents = wave(187 * metadata.width, 0.31);
    let mut waveform = Waveform::new(vocoder.windowing);
    waveform.push(&latents);
    waveform.complete();
    let windows: Vec<Window> = std::iter::from_fn(|| waveform.next_window()).collect();
    assert!(windows.len() > 3);
    for window in windows.iter().rev() {
        assert!(!waveform.is_whole());
        waveform.accept(
            window.first_frame(),
            &vocoder.run(window, &speaker).unwrap(),
        );
    }
    assert!(waveform.is_whole());
    let expected = vocode(&mut vocoder, &latents, &speaker);
    assert_eq!(waveform.into_samples(), expected);
}

#[test]
fn interpolation_is_two_linear_ones() {
    let interpolation = Interpolation {
        upsample: 4,
        resample: Ratio {
            numerator: 160,
            denominator: 147,
        },
    };
    let (codes, width) = (23, 3);
    let latents = wave(codes * width, 0.9);
    let frames = interpolation.frames(codes);
    assert_eq!(frames, 4 * 23 * 160 / 147);
    let all = interpolation.interpolate(&latents, 0, codes, width, 0..frames);
    for channel in 0..width {
        let line: Vec<f64> = (0..codes)
            .map(|c| f64::from(latents[c * width + channel]))
            .collect();
        let expected = linear(&linear(&line, 0.25, 4 * codes), 147.0 / 160.0, frames);
        for (frame, expected) in expected.iter().enumerate() {
            let difference = f64::from(all[channel * frames + frame]) - expected;
            // The result is stored in single precision.
            assert!(difference.abs() < 1e-6, "frame {frame}");
        }
    }
    let part = {
        let reads = interpolation.latents(30).start..interpolation.latents(54).end;
        let latents = &latents[reads.start * width..reads.end * width];
        interpolation.interpolate(latents, reads.start, codes, width, 30..55)
    };
    for channel in 0..width {
        let expected = &all[channel * frames + 30..channel * frames + 55];
        assert_eq!(&part[channel * 25..(channel + 1) * 25], expected);
    }
}

/// Linear interpolation with half-pixel centres, clamped, as the textbook has it.
fn linear(line: &[f64], step: f64, length: usize) -> Vec<f64> {
    (0..length)
        .map(|index| {
            let x = ((index as f64 + 0.5) * step - 0.5).clamp(0.0, (line.len() - 1) as f64);
            let left = line[x.floor() as usize];
            let right = line[x.ceil() as usize];
            left + (right - left) * x.fract()
        })
        .collect()
}

#[test]
fn an_empty_unit_has_an_empty_waveform() {
    let (mut vocoder, metadata) = vocoder();
    assert!(vocode(&mut vocoder, &[], &wave(metadata.speaker_dim, 0.7)).is_empty());
}

#[test]
fn a_graph_that_is_not_told_what_to_give_out_is_refused() {
    let directory = fixture("xtts");
    let metadata = XttsMetadata::read(&directory).unwrap();
    let other = directory.join("speaker_encoder.onnx");
    let error = Vocoder::load(&onnx(), &other, &metadata, 1).err().unwrap();
    assert!(matches!(error, SynthesizeError::NoVocoder { path } if path == other));
}
