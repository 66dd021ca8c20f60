//! The formats of speech that is given out, as whole files and piece by piece.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::EncodeError;
use super::mp3::{Mp3Options, Mp3Stream, mp3};
use super::ogg::ogg_opus;
use super::wav::{samples, stream_header, wav};
use crate::domain::{Deadline, Pcm};

/// A format of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpeechFormat {
    /// MP3.
    Mp3,
    /// WAV with 16-bit samples.
    Wav,
    /// Opus in Ogg.
    Ogg,
}

impl SpeechFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Mp3, Self::Wav, Self::Ogg];

    /// The format's name, which is also the extension of its files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
            Self::Ogg => "ogg",
        }
    }

    /// The media type of its files.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Mp3 => "audio/mpeg",
            Self::Wav => "audio/wav",
            Self::Ogg => "audio/ogg",
        }
    }

    /// The speech as a file; `options` hold the bit rate of the formats that have one.
    ///
    /// # Errors
    /// There are no samples, or the encoder fails; the deadline.
    pub fn encode(
        self,
        pcm: &Pcm,
        options: &Mp3Options,
        deadline: &Deadline,
    ) -> Result<Bytes, EncodeError> {
        match self {
            Self::Mp3 => mp3(pcm, options, deadline),
            Self::Ogg => ogg_opus(pcm, options.bitrate_kbps, deadline),
            Self::Wav if pcm.samples().is_empty() => Err(EncodeError::Empty),
            Self::Wav => Ok(wav(pcm).into()),
        }
    }

    /// Begins speech of that rate that is given out piece by piece; `None` for a format that cannot be.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn stream(
        self,
        sample_rate_hz: u32,
        options: &Mp3Options,
    ) -> Result<Option<SpeechStream>, EncodeError> {
        Ok(match self {
            Self::Mp3 => Some(SpeechStream::Mp3(Box::new(Mp3Stream::new(
                sample_rate_hz,
                options,
            )?))),
            Self::Wav => Some(SpeechStream::Wav(stream_header(sample_rate_hz))),
            Self::Ogg => None,
        })
    }
}

/// Speech that is given out piece by piece. All pieces have one rate.
pub enum SpeechStream {
    /// One encoder for all pieces.
    Mp3(Box<Mp3Stream>),
    /// What the next piece begins with.
    Wav(Vec<u8>),
}

impl SpeechStream {
    /// The next bytes, with which the speech ends if it `is_last`.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn push(&mut self, pcm: &Pcm, is_last: bool) -> Result<Bytes, EncodeError> {
        match self {
            Self::Mp3(stream) => stream.push(pcm, is_last),
            Self::Wav(begin) => {
                let mut bytes = std::mem::take(begin);
                bytes.extend(samples(pcm));
                Ok(bytes.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::decode::{DecodeLimits, decode};

    fn noise(samples: u32) -> Pcm {
        let samples: Vec<f32> = (0..samples)
            .map(|n| ((n.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0) * 0.4)
            .collect();
        Pcm::new(samples, 24_000)
    }

    #[test]
    fn every_format_is_what_it_says() {
        for format in SpeechFormat::ALL {
            let options = Mp3Options::default();
            let file = format
                .encode(&noise(24_000), &options, &Deadline::none())
                .unwrap();
            let decoded = decode(&file, &DecodeLimits::default(), &Deadline::none()).unwrap();
            assert_eq!(decoded.pcm.duration_ms(), 1_000, "{format:?}");
            let empty = Pcm::new(Vec::new(), 24_000);
            let nothing = format.encode(&empty, &options, &Deadline::none());
            assert!(matches!(nothing, Err(EncodeError::Empty)), "{format:?}");
        }
    }

    #[test]
    fn pieces_make_one_speech() {
        for format in [SpeechFormat::Mp3, SpeechFormat::Wav] {
            let options = Mp3Options::default();
            let mut stream = format.stream(24_000, &options).unwrap().unwrap();
            let mut bytes = Vec::new();
            for (samples, is_last) in [(10_000, false), (777, false), (12_000, true)] {
                bytes.extend(stream.push(&noise(samples), is_last).unwrap());
            }
            let decoded = decode(&bytes, &DecodeLimits::default(), &Deadline::none()).unwrap();
            // Without its tag an MP3 keeps the encoder's own silence.
            let long = decoded.pcm.duration_ms();
            assert!((949..1_100).contains(&long), "{long} ms of {format:?}");
        }
        let none = SpeechFormat::Ogg.stream(24_000, &Mp3Options::default());
        assert!(none.unwrap().is_none());
    }
}
