//! Why a recording could not be decoded.

use crate::domain::Stop;
use crate::error::Reason;
use crate::stages::StageError;

/// Why there is no PCM.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the recording is empty")]
    Empty,
    /// The container was read, and nothing in it is audio.
    #[error("the {container} file has no audio track")]
    NoAudioTrack {
        /// Short name of the container.
        container: &'static str,
    },
    /// There is an audio track, and nothing is in it.
    #[error("the audio track has no samples")]
    NoSamples,
    /// The encoded recording is over the limit.
    #[error("the recording has {bytes} bytes, {max_bytes} are allowed")]
    TooLarge {
        /// Size of the recording.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The samples are over the memory limit.
    #[error("the decoded samples take more than the {max_bytes} bytes allowed")]
    DecodedTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The samples decoded so far are over the time limit.
    #[error("the recording is longer than the {max_duration_ms} ms allowed")]
    TooLong {
        /// The limit.
        max_duration_ms: u64,
    },
    /// A format that is known by its signature and has no decoder here.
    #[error("{0} is not supported")]
    UnsupportedFormat(&'static str),
    /// The container holds audio in a codec that it does not describe in terms known here.
    #[error("the codec of the audio track in the {container} file is not supported")]
    UnknownCodec {
        /// Short name of the container.
        container: &'static str,
    },
    /// The codec, or what this stream uses of it, has no decoder.
    #[error("the audio codec is not supported")]
    UnsupportedCodec(#[source] symphonia::core::errors::Error),
    /// More channels than the limit.
    #[error("{channels} channels are not supported, at most {max_channels}")]
    UnsupportedChannels {
        /// Channels of the track.
        channels: usize,
        /// The limit.
        max_channels: u16,
    },
    /// A sample rate outside the limits.
    #[error("a sample rate of {sample_rate_hz} Hz is not supported")]
    UnsupportedSampleRate {
        /// Sample rate of the track.
        sample_rate_hz: u32,
    },
    /// The bytes are no audio, or are damaged beyond use.
    #[error("the recording is malformed")]
    Malformed(#[source] symphonia::core::errors::Error),
    /// A header asks for more memory than any intact file.
    #[error("the recording is malformed: a packet of {frames} frames is announced")]
    OversizedPacket {
        /// Frames per packet, as announced.
        frames: u64,
    },
    /// The demuxer or the codec panicked: its own check for what these bytes hold is missing.
    #[error("the recording is malformed: it broke the decoder")]
    DecoderPanicked,
    /// The work was stopped from outside.
    #[error(transparent)]
    Stopped(#[from] Stop),
}

impl StageError for DecodeError {
    fn reason(&self) -> Reason {
        match self {
            Self::Empty | Self::NoAudioTrack { .. } | Self::NoSamples => Reason::NoAudio,
            Self::TooLarge { .. } | Self::DecodedTooLarge { .. } => Reason::AudioTooLarge,
            Self::TooLong { .. } => Reason::AudioTooLong,
            Self::UnsupportedFormat(_)
            | Self::UnknownCodec { .. }
            | Self::UnsupportedCodec(_)
            | Self::UnsupportedChannels { .. }
            | Self::UnsupportedSampleRate { .. } => Reason::UnsupportedCodec,
            Self::Malformed(_) | Self::OversizedPacket { .. } | Self::DecoderPanicked => {
                Reason::MalformedAudio
            }
            Self::Stopped(stop) => (*stop).into(),
        }
    }
}
