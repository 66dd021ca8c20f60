use std::time::Duration;

use super::*;
use crate::error::Reason;
use crate::stages::StageError;

const PCM: u16 = 1;
const FLOAT: u16 = 3;

/// A WAV header that announces `data_bytes` of samples.
fn wav_header(format: u16, channels: u16, rate: u32, bits: u16, data_bytes: u32) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend(data_bytes.saturating_add(36).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend(format.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * u32::from(block)).to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(data_bytes.to_le_bytes());
    bytes
}

fn wav_i16(channels: u16, rate: u32, samples: &[i16]) -> Vec<u8> {
    let mut bytes = wav_header(PCM, channels, rate, 16, samples.len() as u32 * 2);
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

fn decode_with(limits: &DecodeLimits, recording: &[u8]) -> Result<Decoded, DecodeError> {
    decode(recording, limits, &Deadline::none())
}

fn decoded(recording: &[u8]) -> Decoded {
    decode_with(&DecodeLimits::default(), recording).unwrap()
}

fn reason(recording: &[u8]) -> Reason {
    decode_with(&DecodeLimits::default(), recording)
        .unwrap_err()
        .reason()
}

#[test]
fn channels_are_averaged() {
    let audio = decoded(&wav_i16(
        2,
        16_000,
        &[16_384, 0, -32_768, -32_768, 8_192, -8_192],
    ));
    assert_eq!(audio.pcm.samples(), [0.25, -1.0, 0.0]);
    assert_eq!(audio.pcm.sample_rate_hz(), 16_000);
    assert_eq!((audio.container, audio.codec), ("wave", "pcm_s16le"));
    assert_eq!(audio.channels, 2);
    assert!(!audio.truncated);
}

#[test]
fn float_samples_are_made_finite_and_clipped() {
    let samples = [0.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3.0, -0.25];
    let mut bytes = wav_header(FLOAT, 1, 24_000, 32, 24);
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    assert_eq!(
        decoded(&bytes).pcm.samples(),
        [0.5, 0.0, 1.0, -1.0, 1.0, -0.25]
    );
}

#[test]
fn nothing_garbage_and_foreign_formats_are_told_apart() {
    assert_eq!(reason(b""), Reason::NoAudio);
    assert_eq!(reason(&wav_header(PCM, 1, 16_000, 16, 0)), Reason::NoAudio);
    assert_eq!(
        reason(b"<html><body>404 Not Found</body></html>"),
        Reason::MalformedAudio
    );
    assert_eq!(reason(&[0; 5_000]), Reason::MalformedAudio);
    assert_eq!(reason(b"#!AMR\n\x3c\x91\x17"), Reason::UnsupportedCodec);
    assert_eq!(reason(b"#!AMR-WB\n\x3c\x91"), Reason::UnsupportedCodec);
}

#[test]
fn a_header_that_claims_three_hours_is_not_believed() {
    let three_hours = 3 * 3600 * 16_000 * 2;
    let mut bytes = wav_header(PCM, 1, 16_000, 16, three_hours);
    bytes.extend(vec![1; 32_000]);
    let audio = decoded(&bytes);
    assert_eq!(audio.pcm.duration_ms(), 1_000);
    assert!(audio.truncated);
}

#[test]
fn time_is_measured_in_decoded_samples() {
    let limits = DecodeLimits {
        max_duration_ms: 2_000,
        ..DecodeLimits::default()
    };
    assert!(decode_with(&limits, &wav_i16(1, 8_000, &[0; 16_000])).is_ok());
    let error = decode_with(&limits, &wav_i16(1, 8_000, &[0; 16_001])).unwrap_err();
    assert_eq!(error.reason(), Reason::AudioTooLong);
}

#[test]
fn bytes_are_limited_before_and_after_decoding() {
    let recording = wav_i16(1, 8_000, &[0; 1_000]);
    let limits = DecodeLimits {
        max_bytes: recording.len(),
        max_decoded_bytes: 4_000,
        ..DecodeLimits::default()
    };
    assert!(decode_with(&limits, &recording).is_ok());
    let encoded = DecodeLimits {
        max_bytes: recording.len() - 1,
        ..limits.clone()
    };
    let decoded = DecodeLimits {
        max_decoded_bytes: 3_999,
        ..limits
    };
    for limits in [encoded, decoded] {
        let error = decode_with(&limits, &recording).unwrap_err();
        assert_eq!(error.reason(), Reason::AudioTooLarge);
    }
}

#[test]
fn channels_and_rates_outside_the_limits_are_refused() {
    assert_eq!(
        reason(&wav_i16(9, 16_000, &[0; 90])),
        Reason::UnsupportedCodec
    );
    assert_eq!(
        reason(&wav_i16(1, 4_000, &[0; 90])),
        Reason::UnsupportedCodec
    );
    assert_eq!(
        reason(&wav_i16(1, 384_000, &[0; 90])),
        Reason::UnsupportedCodec
    );
    assert_eq!(decoded(&wav_i16(8, 192_000, &[0; 80])).channels, 8);
}

#[test]
fn the_deadline_and_cancellation_stop_the_work() {
    let recording = wav_i16(1, 16_000, &[0; 16_000]);
    let limits = DecodeLimits::default();
    let late = decode(&recording, &limits, &Deadline::after(Duration::ZERO)).unwrap_err();
    assert_eq!(late.reason(), Reason::DeadlineExceeded);
    let unwanted = Deadline::none();
    unwanted.cancel();
    let stopped = decode(&recording, &limits, &unwanted).unwrap_err();
    assert_eq!(stopped.reason(), Reason::Cancelled);
}

/// A CAF file whose one packet claims four billion frames: an intact decoder would make room for
/// them before it reads the first.
#[test]
fn a_packet_too_long_for_memory_is_refused() {
    let mut bytes = Vec::new();
    bytes.extend(b"caff\x00\x01\x00\x00desc");
    bytes.extend(32u64.to_be_bytes());
    bytes.extend(16_000f64.to_be_bytes());
    bytes.extend(b"ima4");
    for field in [0u32, 34, u32::MAX, 1, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(b"data");
    bytes.extend(38u64.to_be_bytes());
    bytes.extend([0; 38]);
    let error = decode_with(&DecodeLimits::default(), &bytes).unwrap_err();
    assert!(
        matches!(error, DecodeError::OversizedPacket { .. }),
        "{error:?}"
    );
}

#[test]
fn debug_output_shows_no_samples() {
    let audio = decoded(&wav_i16(1, 16_000, &[12_345; 16]));
    assert!(!format!("{audio:?}").contains("0.37"), "{audio:?}");
}
