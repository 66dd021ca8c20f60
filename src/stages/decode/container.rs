//! Finding the container, the audio track and its decoder.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::OnceLock;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_ALAC, CODEC_ID_MP3, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::error::DecodeError;
use super::limits::DecodeLimits;
use crate::domain::Deadline;

/// Formats without decoder, by what stands at an offset. Looked at first: symphonia would search
/// them for something that looks like an MP3 frame.
const UNSUPPORTED_SIGNATURES: [(usize, &[u8], &str); 8] = [
    (0, b"#!AMR", "AMR"),
    // The first packet of an Ogg stream follows the 28 bytes of its page's header.
    (28, b"Speex   ", "Speex"),
    (
        0,
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        "Windows Media (ASF)",
    ),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"FLV\x01", "Flash Video"),
    (8, b"AVI LIST", "AVI"),
];

/// Frames of one packet. The longest that an encoder makes is FLAC's 65,535.
const MAX_PACKET_FRAMES: u64 = 1 << 17;

/// How the bytes are shown to a demuxer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// With their end: a demuxer may look there for an index, and refuses headers that reach further.
    File,
    /// From the start onwards, as from a network: a demuxer takes what comes until nothing does.
    Stream,
}

/// Bytes that stop being readable when the deadline passes: a demuxer may search them for long.
struct Source<'a> {
    bytes: Cursor<&'a [u8]>,
    view: View,
    deadline: &'a Deadline,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.check().map_err(io::Error::other)?;
        self.bytes.read(buffer)
    }
}

impl Seek for Source<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(position)
    }
}

impl MediaSource for Source<'_> {
    fn is_seekable(&self) -> bool {
        self.view == View::File
    }

    fn byte_len(&self) -> Option<u64> {
        match self.view {
            View::File => Some(self.bytes.get_ref().len() as u64),
            View::Stream => None,
        }
    }
}

/// Finds out what container `recording` is and reads its headers.
pub(super) fn open<'a>(
    recording: &'a [u8],
    view: View,
    deadline: &'a Deadline,
) -> Result<Box<dyn FormatReader + 'a>, DecodeError> {
    for (offset, signature, name) in UNSUPPORTED_SIGNATURES {
        if recording
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(signature))
        {
            return Err(DecodeError::UnsupportedFormat(name));
        }
    }
    let source = Source {
        bytes: Cursor::new(recording),
        view,
        deadline,
    };
    let stream = MediaSourceStream::new(Box::new(source), Default::default());
    let opened = symphonia::default::get_probe().probe(
        &Hint::new(),
        stream,
        FormatOptions::default(),
        MetadataOptions::default(),
    );
    opened.map_err(|error| match deadline.check() {
        Err(stop) => stop.into(),
        // "Unsupported" means here that no container was recognised or that a part of it is missing.
        Ok(()) => DecodeError::Malformed(error),
    })
}

/// Tells whether the headers say that the length was unknown when they were written: a browser's or
/// another live recording, whose bytes end wherever the recorder stopped.
pub(super) fn is_open_ended(recording: &[u8]) -> bool {
    /// Where an EBML header ends that has room for all that RFC 8794 puts there.
    const EBML_HEADER_BYTES: usize = 256;
    /// Element id of a Matroska segment (RFC 9559, section 5.1).
    const SEGMENT_ID: [u8; 4] = [0x18, 0x53, 0x80, 0x67];
    if recording.starts_with(b"RIFF") {
        return recording.get(4..8) == Some(&[0xff; 4]);
    }
    let head = recording.get(..EBML_HEADER_BYTES).unwrap_or(recording);
    let segment = head
        .windows(SEGMENT_ID.len())
        .position(|id| id == SEGMENT_ID);
    let size = segment.and_then(|start| head.get(start + SEGMENT_ID.len()..));
    // An unknown size is all ones behind the length marker (RFC 8794, section 6.2).
    match size {
        Some([0xff, ..] | [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..]) => true,
        Some(_) | None => false,
    }
}

/// Tells codecs that have no decoder from damage.
pub(super) fn classify(error: SymphoniaError) -> DecodeError {
    match error {
        SymphoniaError::Unsupported(_) => DecodeError::UnsupportedCodec(error),
        _ => DecodeError::Malformed(error),
    }
}

/// The track that is decoded.
pub(super) struct AudioTrack {
    pub(super) id: u32,
    pub(super) decoder: Box<dyn AudioDecoder>,
    /// Present when an MP3 has a LAME tag.
    lame_tag: Option<LameTag>,
}

/// What the LAME tag of an MP3 says.
#[derive(Clone, Copy)]
pub(super) struct LameTag {
    /// Frames of the recording itself.
    pub(super) frames: u64,
    /// Frames of silence that the encoder put behind it.
    pub(super) padding: u64,
}

impl AudioTrack {
    /// Takes the container's default audio track, or the first other that has a decoder.
    pub(super) fn select(
        reader: &dyn FormatReader,
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        let container = reader.format_info().short_name;
        let default = reader.default_track(TrackType::Audio);
        let mut refusal = None;
        for track in default.into_iter().chain(reader.tracks()) {
            let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
                continue;
            };
            match Self::open(track, parameters, limits) {
                Ok(selected) => return Ok(selected),
                Err(error) => {
                    refusal.get_or_insert(error);
                }
            }
        }
        let has_unknown_track = reader
            .tracks()
            .iter()
            .any(|track| track.codec_params.is_none());
        Err(refusal.unwrap_or(if has_unknown_track {
            DecodeError::UnknownCodec { container }
        } else {
            DecodeError::NoAudioTrack { container }
        }))
    }

    fn open(
        track: &Track,
        parameters: &AudioCodecParameters,
        limits: &DecodeLimits,
    ) -> Result<Self, DecodeError> {
        let mut parameters = parameters.clone();
        if parameters.codec == CODEC_ID_OPUS {
            // Opus always decodes at 48 kHz; containers may state the rate before encoding.
            parameters.sample_rate = Some(48_000);
        }
        check_parameters(&parameters, limits)?;
        let is_mp3 = parameters.codec == CODEC_ID_MP3;
        // Without a Xing header symphonia guesses an MP3's length from its first bit rates and cuts
        // what is beyond: a tenth of a variable-rate file. Only a LAME tag is worth trusting.
        let options = AudioDecoderOptions::default().gapless(!is_mp3);
        let decoder = codecs()
            .make_audio_decoder(&parameters, &options)
            .map_err(classify)?;
        let lame_tag = match (track.delay, track.padding, track.num_frames) {
            (Some(_), Some(padding), Some(frames)) if is_mp3 => Some(LameTag {
                frames,
                padding: padding.into(),
            }),
            _ => None,
        };
        Ok(Self {
            id: track.id,
            decoder,
            lame_tag,
        })
    }

    /// Frames at the start of `packet` that are the encoder's delay and not trimmed by the decoder.
    pub(super) fn leading_frames(&self, packet: &Packet) -> usize {
        match self.lame_tag {
            Some(_) => usize::try_from(packet.trim_start.get()).unwrap_or(usize::MAX),
            None => 0,
        }
    }

    /// The track's LAME tag.
    pub(super) fn lame_tag(&self) -> Option<LameTag> {
        self.lame_tag
    }
}

/// Refuses what is over the limits, and headers for which a decoder would allocate without bound.
fn check_parameters(
    parameters: &AudioCodecParameters,
    limits: &DecodeLimits,
) -> Result<(), DecodeError> {
    if let Some(channels) = &parameters.channels {
        limits.check_channels(channels.count())?;
    }
    if let Some(sample_rate_hz) = parameters.sample_rate {
        limits.check_sample_rate(sample_rate_hz)?;
    }
    let alac_frames = match (&parameters.extra_data, parameters.codec) {
        (Some(cookie), CODEC_ID_ALAC) => alac_frame_length(cookie),
        _ => None,
    };
    let frames = alac_frames.or(parameters.max_frames_per_packet);
    match frames {
        Some(frames) if frames > MAX_PACKET_FRAMES => Err(DecodeError::OversizedPacket { frames }),
        _ => Ok(()),
    }
}

/// Frames per packet of an ALAC "magic cookie", which may stand behind `frma` and `alac` atoms of
/// 12 bytes each (Apple's ALAC sources, `ALACMagicCookieDescription.txt`).
fn alac_frame_length(cookie: &[u8]) -> Option<u64> {
    let mut config = cookie;
    for atom in [b"frma", b"alac"] {
        if config.get(4..8) == Some(atom) {
            config = config.get(12..)?;
        }
    }
    Some(u32::from_be_bytes(*config.first_chunk()?).into())
}

fn codecs() -> &'static CodecRegistry {
    static CODECS: OnceLock<CodecRegistry> = OnceLock::new();
    CODECS.get_or_init(|| {
        let mut codecs = CodecRegistry::new();
        symphonia::default::register_enabled_codecs(&mut codecs);
        codecs.register_audio_decoder::<symphonia_adapter_libopus::OpusDecoder>();
        codecs
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_recordings_are_told_from_cut_ones() {
        let ebml = b"\x1a\x45\xdf\xa3\x84\x42\x82\x81w\x18\x53\x80\x67";
        let with_size = |size: &[u8]| [ebml, size].concat();
        assert!(is_open_ended(&with_size(
            b"\x01\xff\xff\xff\xff\xff\xff\xff"
        )));
        assert!(is_open_ended(&with_size(b"\xff")));
        assert!(!is_open_ended(&with_size(
            b"\x01\x00\x00\x00\x00\x01\x23\x45"
        )));
        assert!(!is_open_ended(&with_size(b"")));
        assert!(is_open_ended(b"RIFF\xff\xff\xff\xffWAVE"));
        assert!(!is_open_ended(b"RIFF\x24\x00\x00\x00WAVE"));
        assert!(!is_open_ended(b""));
    }

    #[test]
    fn the_alac_frame_length_is_found_behind_its_atoms() {
        let cookie = [&4096_u32.to_be_bytes()[..], &[0; 20]].concat();
        let atom = |name: &[u8; 4]| [&12_u32.to_be_bytes()[..], name, &[0; 4]].concat();
        let wrapped = [atom(b"frma"), atom(b"alac"), cookie.clone()].concat();
        assert_eq!(alac_frame_length(&cookie), Some(4096));
        assert_eq!(alac_frame_length(&wrapped), Some(4096));
        assert_eq!(alac_frame_length(&atom(b"alac")), None);
        assert_eq!(alac_frame_length(&[]), None);
    }
}
