//! Opus in Ogg (RFC 7845): libopus, which the decoder brings along, and a writer of Ogg pages.

use bytes::Bytes;
use ogg::{PacketWriteEndInfo, PacketWriter};
use opusic_c::{Application, Bitrate, Channels, Encoder, ErrorCode, SampleRate, Signal};

use super::error::EncodeError;
use crate::domain::{Deadline, Pcm};
use crate::stages::decode::resample;

/// Positions in an Opus stream count samples at this rate, whatever the rate of what was encoded.
const POSITIONS_HZ: u32 = 48_000;
/// Packets in a second.
const PACKETS_PER_SECOND: u32 = 50;
/// Longest packet of libopus.
const MAX_PACKET_BYTES: usize = 4_000;
/// One stream in each file, so any number does.
const SERIAL: u32 = 1;
/// Who has made the file.
const VENDOR: &str = "meeshy-translator";

/// Encodes `pcm` as mono Opus.
///
/// The last page tells the exact end, so that a decoder gives back the length of `pcm`. The same samples give
/// the same bytes.
///
/// # Errors
/// There are no samples; the deadline, which is looked at with every second.
pub fn ogg_opus(pcm: &Pcm, bitrate_kbps: u32, deadline: &Deadline) -> Result<Bytes, EncodeError> {
    if pcm.samples().is_empty() {
        return Err(EncodeError::Empty);
    }
    let (rate, rate_hz) = if pcm.sample_rate_hz() <= 24_000 {
        (SampleRate::Hz24000, 24_000)
    } else {
        (SampleRate::Hz48000, 48_000)
    };
    let resampled = resample(pcm, rate_hz).map_err(EncodeError::Resample)?;
    let mut encoder = encoder(rate, bitrate_kbps).map_err(opus)?;
    let ratio = u64::from(POSITIONS_HZ / rate_hz);
    let delay = u64::from(encoder.get_look_ahead().map_err(opus)?) * ratio;
    let end = delay + resampled.samples().len() as u64 * ratio;

    let mut pages = PacketWriter::new(Vec::new());
    let mut write = |packet: Vec<u8>, end, position| {
        let written = pages.write_packet(packet, SERIAL, end, position);
        written.map_err(EncodeError::Ogg)
    };
    write(head(delay, rate_hz), PacketWriteEndInfo::EndPage, 0)?;
    write(tags(), PacketWriteEndInfo::EndPage, 0)?;
    let packet_samples = (rate_hz / PACKETS_PER_SECOND) as usize;
    let mut position = 0;
    let mut block = Vec::with_capacity(packet_samples);
    // What the codec holds back comes out with silence after the end.
    for number in 0_usize.. {
        if number % PACKETS_PER_SECOND as usize == 0 {
            deadline.check()?;
        }
        let from = (number * packet_samples).min(resampled.samples().len());
        let to = (from + packet_samples).min(resampled.samples().len());
        block.clear();
        let samples = resampled.samples().get(from..to).unwrap_or_default();
        block.extend(samples.iter().map(|sample| {
            // `clamp` lets NaN through.
            if sample.is_nan() {
                0.0
            } else {
                sample.clamp(-1.0, 1.0)
            }
        }));
        block.resize(packet_samples, 0.0);
        let mut packet = Vec::with_capacity(MAX_PACKET_BYTES);
        encoder
            .encode_float_to_vec(&block, &mut packet)
            .map_err(opus)?;
        position += packet_samples as u64 * ratio;
        if position >= end {
            write(packet, PacketWriteEndInfo::EndStream, end)?;
            break;
        }
        write(packet, PacketWriteEndInfo::NormalPacket, position)?;
    }
    Ok(pages.into_inner().into())
}

fn encoder(rate: SampleRate, bitrate_kbps: u32) -> Result<Encoder, ErrorCode> {
    let mut encoder = Encoder::new(Channels::Mono, rate, Application::Voip)?;
    encoder.set_signal(Signal::Voice)?;
    encoder.set_bitrate(Bitrate::Value(bitrate_kbps.saturating_mul(1_000)))?;
    Ok(encoder)
}

/// The first packet: what is in the stream.
fn head(delay: u64, rate_hz: u32) -> Vec<u8> {
    const VERSION: u8 = 1;
    const CHANNELS: u8 = 1;
    const GAIN: i16 = 0;
    const FAMILY: u8 = 0;
    let mut head = b"OpusHead".to_vec();
    head.extend([VERSION, CHANNELS]);
    head.extend(u16::try_from(delay).unwrap_or(u16::MAX).to_le_bytes());
    head.extend(rate_hz.to_le_bytes());
    head.extend(GAIN.to_le_bytes());
    head.push(FAMILY);
    head
}

/// The second packet: who has made it, and no comments.
fn tags() -> Vec<u8> {
    let mut tags = b"OpusTags".to_vec();
    tags.extend((VENDOR.len() as u32).to_le_bytes());
    tags.extend(VENDOR.as_bytes());
    tags.extend(0_u32.to_le_bytes());
    tags
}

fn opus(error: ErrorCode) -> EncodeError {
    EncodeError::Opus(error.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Stop;
    use crate::stages::decode::{DecodeLimits, decode};

    fn tone(samples: usize, sample_rate_hz: u32) -> Pcm {
        let step = 440.0 / sample_rate_hz as f32 * std::f32::consts::TAU;
        let samples: Vec<f32> = (0..samples)
            .map(|n| (n as f32 * step).sin() * 0.5)
            .collect();
        Pcm::new(samples, sample_rate_hz)
    }

    #[test]
    fn decoding_gives_back_the_length_and_the_tone() {
        for (samples, sample_rate_hz) in [
            (1, 24_000),
            (24_000, 24_000),
            (70_001, 24_000),
            (48_000, 48_000),
            (22_050, 22_050),
        ] {
            let original = tone(samples, sample_rate_hz);
            let encoded = ogg_opus(&original, 48, &Deadline::none()).unwrap();
            let decoded = decode(&encoded, &DecodeLimits::default(), &Deadline::none()).unwrap();
            assert_eq!(decoded.codec, "opus");
            let (long, expected) = (decoded.pcm.duration_ms(), original.duration_ms());
            assert!(
                long.abs_diff(expected) <= 1,
                "{long} ms for {expected} at {sample_rate_hz}"
            );
            if samples > 20_000 {
                let power = |pcm: &Pcm| {
                    let sum: f32 = pcm.samples().iter().map(|s| s * s).sum();
                    sum / pcm.samples().len() as f32
                };
                let (heard, said) = (power(&decoded.pcm), power(&original));
                assert!((heard / said - 1.0).abs() < 0.1, "{heard} of {said}");
            }
        }
    }

    #[test]
    fn nothing_is_an_error_and_a_stop_is_noticed() {
        let empty = ogg_opus(&Pcm::new(Vec::new(), 24_000), 48, &Deadline::none());
        assert!(matches!(empty, Err(EncodeError::Empty)));
        let unwanted = Deadline::none();
        unwanted.cancel();
        let stopped = ogg_opus(&tone(24_000, 24_000), 48, &unwanted);
        assert!(matches!(
            stopped,
            Err(EncodeError::Stopped(Stop::Cancelled))
        ));
    }
}
