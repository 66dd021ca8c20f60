//! Container and codec to PCM: symphonia and libopus.
//!
//! A recording comes from a peer, so nothing in it is believed: the container is found by looking
//! at the bytes, sizes and durations in headers are never used to allocate, the limits apply to what
//! has been decoded, and a panic of a demuxer or codec is caught.

mod container;
mod error;
mod limits;
mod mono;
mod quality;
mod resample;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::FormatReader;
use symphonia::core::packet::Packet;

use crate::domain::{Deadline, Pcm, Stop};
use container::{AudioTrack, View};
pub use error::DecodeError;
pub use limits::DecodeLimits;
use mono::MonoSamples;
pub use quality::{QualityWarning, quality_warnings};
pub use resample::{ResampleError, resample, resample_sinc};

/// Takes the mono samples of a recording while it is decoded; why it stops, decoding stops.
pub type SampleSink<'a> = &'a mut dyn FnMut(&[f32]) -> Result<(), Stop>;

/// A decoded recording.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The channels' average, at the source's sample rate.
    pub pcm: Pcm,
    /// Short name of the container, such as `ogg`, `matroska`, `isomp4`.
    pub container: &'static str,
    /// Short name of the codec, such as `opus`, `aac`, `pcm_s16le`.
    pub codec: &'static str,
    /// Channels of the source.
    pub channels: u16,
    /// True when the bytes ended before the container said so, or when packets were damaged and
    /// left out. Live recordings, which never say where they end, are not truncated.
    pub truncated: bool,
}

/// What was decoded, beside the samples themselves.
#[derive(Debug, Clone, Copy)]
pub struct DecodedFacts {
    /// Samples that belong to the recording; those that were given out beyond are an encoder's padding.
    pub samples: usize,
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// See [`Decoded::container`].
    pub container: &'static str,
    /// See [`Decoded::codec`].
    pub codec: &'static str,
    /// See [`Decoded::channels`].
    pub channels: u16,
    /// See [`Decoded::truncated`].
    pub truncated: bool,
}

/// Packets in a row that may yield nothing before the rest of the recording is given up. A header
/// can announce billions of empty packets in a few bytes; five minutes of video without a sound
/// have 18,000.
const MAX_BARREN_PACKETS: u32 = 100_000;

/// Decodes as [`decode_into`] and holds the samples together. Memory: the samples, twice while they are
/// handed over.
///
/// # Errors
/// As [`decode_into`].
pub fn decode(
    recording: &[u8],
    limits: &DecodeLimits,
    deadline: &Deadline,
) -> Result<Decoded, DecodeError> {
    let mut samples = Vec::new();
    let facts = decode_into(recording, limits, deadline, &mut |fresh| {
        samples.extend_from_slice(fresh);
        Ok(())
    })?;
    samples.truncate(facts.samples);
    Ok(Decoded {
        pcm: Pcm::new(samples, facts.sample_rate_hz),
        container: facts.container,
        codec: facts.codec,
        channels: facts.channels,
        truncated: facts.truncated,
    })
}

/// Decodes the default audio track of `recording`, whatever its container, and gives its samples to
/// `sink`, packet by packet.
///
/// A recording that ends early gives what it holds; of a fragmented MP4 the whole fragments. Runs on
/// the caller's thread; `deadline` is looked at with every packet and every read. Memory: one packet.
///
/// # Errors
/// Nothing to decode, a codec without decoder, damage beyond use, a limit, the deadline, or a sink that
/// stops.
pub fn decode_into(
    recording: &[u8],
    limits: &DecodeLimits,
    deadline: &Deadline,
    sink: SampleSink<'_>,
) -> Result<DecodedFacts, DecodeError> {
    limits.check_size(recording)?;
    let as_file = read_as(View::File, recording, limits, deadline, sink);
    if !matches!(
        as_file,
        Err(DecodeError::Malformed(_) | DecodeError::NoSamples)
    ) {
        return as_file;
    }
    // The headers may count on bytes that were cut off at the end. Nothing has reached the sink yet:
    // both errors mean that there was no sample.
    match read_as(View::Stream, recording, limits, deadline, sink) {
        Ok(facts) => Ok(DecodedFacts {
            truncated: true,
            ..facts
        }),
        Err(
            error @ (DecodeError::Stopped(_)
            | DecodeError::TooLong { .. }
            | DecodeError::DecodedTooLarge { .. }),
        ) => Err(error),
        Err(_) => as_file,
    }
}

fn read_as(
    view: View,
    recording: &[u8],
    limits: &DecodeLimits,
    deadline: &Deadline,
    sink: SampleSink<'_>,
) -> Result<DecodedFacts, DecodeError> {
    catch_unwind(AssertUnwindSafe(|| {
        read_recording(view, recording, limits, deadline, sink)
    }))
    .unwrap_or(Err(DecodeError::DecoderPanicked))
}

fn read_recording(
    view: View,
    recording: &[u8],
    limits: &DecodeLimits,
    deadline: &Deadline,
    sink: SampleSink<'_>,
) -> Result<DecodedFacts, DecodeError> {
    let mut reader = container::open(recording, view, deadline)?;
    let mut track = AudioTrack::select(reader.as_ref(), limits)?;
    let mut samples = MonoSamples::new(limits);
    let mut truncated = false;
    let mut first_damage = None;
    let mut barren_packets = 0;

    while barren_packets < MAX_BARREN_PACKETS {
        deadline.check()?;
        let packet = match next_packet(reader.as_mut(), &mut track, limits) {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            // The end of a recording that was cut, or was live: it holds what was read so far.
            Err(error) if is_end_of_file(&error) => {
                truncated |= !container::is_open_ended(recording);
                break;
            }
            Err(error) => {
                truncated = true;
                first_damage.get_or_insert(error);
                break;
            }
        };
        barren_packets += 1;
        if packet.track_id != track.id {
            continue;
        }
        let skip = track.leading_frames(&packet);
        match track.decoder.decode(&packet) {
            Ok(buffer) => {
                if !samples.accepts(&buffer) {
                    truncated = true;
                    break;
                }
                if samples.push(&buffer, skip, sink)? > 0 {
                    barren_packets = 0;
                }
            }
            // One damaged packet does not spoil the rest.
            Err(error) => {
                truncated = true;
                first_damage.get_or_insert(error);
            }
        }
    }
    deadline.check()?;

    let Some(format) = samples.format().filter(|_| !samples.is_empty()) else {
        return Err(first_damage.map_or(DecodeError::NoSamples, container::classify));
    };
    Ok(DecodedFacts {
        samples: samples.without_padding(&track),
        sample_rate_hz: format.sample_rate_hz,
        container: reader.format_info().short_name,
        codec: track.decoder.codec_info().short_name,
        channels: format.channels,
        truncated,
    })
}

/// Reads on; where a new stream is chained to the one that ended (Ogg), goes on with its track.
fn next_packet(
    reader: &mut dyn FormatReader,
    track: &mut AudioTrack,
    limits: &DecodeLimits,
) -> Result<Option<Packet>, SymphoniaError> {
    match reader.next_packet() {
        Err(SymphoniaError::ResetRequired) => {
            *track = AudioTrack::select(reader, limits)
                .map_err(|_| SymphoniaError::Unsupported("the chained stream"))?;
            reader.next_packet()
        }
        result => result,
    }
}

fn is_end_of_file(error: &SymphoniaError) -> bool {
    matches!(error, SymphoniaError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
}
