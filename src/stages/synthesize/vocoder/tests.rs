use super::*;
use crate::onnx::testing::{fixture, onnx};

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

#[test]
fn windows_join_to_what_the_whole_gives() {
    let (mut vocoder, metadata) = vocoder();
    let speaker = wave(metadata.speaker_dim, 0.7);
    // Windows of every kind: alone, first and last, a last one shorter than its context.
    for codes in [1, 2, 40, 41, 100, 187] {
        let latents = wave(codes * metadata.width, 0.31);
        let mut waveform = vocoder.begin(latents.clone());
        let frames = waveform.frames;
        while !vocoder.advance(&mut waveform, &speaker).unwrap() {}
        let stitched = waveform.into_samples();
        let whole = vocoder
            .window(&latents, 0..frames, frames, &speaker)
            .unwrap();

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
    let all = interpolation.interpolate(&latents, width, 0..frames);
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
    let part = interpolation.interpolate(&latents, width, 30..55);
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
    let mut waveform = vocoder.begin(Vec::new());
    assert!(
        vocoder
            .advance(&mut waveform, &wave(metadata.speaker_dim, 0.7))
            .unwrap()
    );
    assert!(waveform.into_samples().is_empty());
}
