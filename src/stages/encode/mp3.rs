//! MP3 at a constant bit rate, with the LAME tag that lets players drop the encoder's own silence.

use bytes::Bytes;
use mp3lame_encoder::{
    Bitrate, Builder, Encoder, FlushGap, Mode, MonoPcm, max_required_buffer_size,
};

use super::error::EncodeError;
use crate::domain::{Deadline, Pcm};
use crate::stages::decode::resample;

/// How to encode MP3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mp3Options {
    /// One of MP3's bit rates, 8 to 320 kbit/s. LAME takes the nearest that the sample rate has.
    pub bitrate_kbps: u32,
}

impl Default for Mp3Options {
    /// 64 kbit/s, twice what mono speech at 24 kHz needs to be understood.
    fn default() -> Self {
        Self { bitrate_kbps: 64 }
    }
}

/// Sample rates of MPEG 1, 2 and 2.5 layer III (ISO/IEC 11172-3, 13818-3), ascending.
const SAMPLE_RATES_HZ: [u32; 9] = [
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
];

/// Samples per call of LAME: bounds the scratch memory.
const BLOCK_SAMPLES: usize = 32 * 1024;

/// Bytes that flushing may write, after LAME's documentation.
const FLUSH_BYTES: usize = 7_200;

/// Encodes `pcm` as mono MP3.
///
/// The same samples and options give the same bytes. The tag in the first frame states the exact
/// number of samples, so that a decoder that reads it gives back the length of `pcm`; frames of the
/// lowest bit rates (32 kbit/s at 24 kHz) have no room for it. Samples that are no number become
/// silence, those outside −1..1 are clipped.
///
/// # Errors
/// There are no samples, or the bit rate is none of MP3's; the deadline, which is looked at with every
/// block.
pub fn mp3(pcm: &Pcm, options: &Mp3Options, deadline: &Deadline) -> Result<Bytes, EncodeError> {
    if pcm.samples().is_empty() {
        return Err(EncodeError::Empty);
    }
    let pcm =
        resample(pcm, nearest_mp3_rate(pcm.sample_rate_hz())).map_err(EncodeError::Resample)?;
    let mut encoder = build_encoder(pcm.sample_rate_hz(), options, Tag::Written)?;
    let mut encoded = Vec::new();
    for samples in pcm.samples().chunks(BLOCK_SAMPLES) {
        deadline.check()?;
        encode_block(&mut encoder, samples, &mut encoded)?;
    }
    flush(&mut encoder, &mut encoded)?;
    write_lame_tag(&encoder, &mut encoded)?;
    Ok(encoded.into())
}

/// MP3 that is given out while it is made: without the tag, which comes first and tells the length.
pub struct Mp3Stream {
    encoder: Encoder,
    sample_rate_hz: u32,
}

impl Mp3Stream {
    /// A stream of samples of that rate.
    pub(super) fn new(sample_rate_hz: u32, options: &Mp3Options) -> Result<Self, EncodeError> {
        let sample_rate_hz = nearest_mp3_rate(sample_rate_hz);
        Ok(Self {
            encoder: build_encoder(sample_rate_hz, options, Tag::LeftOut)?,
            sample_rate_hz,
        })
    }

    /// The bytes that follow from more samples; with the last ones all that are left.
    pub(super) fn push(&mut self, pcm: &Pcm, is_last: bool) -> Result<Bytes, EncodeError> {
        let pcm = resample(pcm, self.sample_rate_hz).map_err(EncodeError::Resample)?;
        let mut encoded = Vec::new();
        for samples in pcm.samples().chunks(BLOCK_SAMPLES) {
            encode_block(&mut self.encoder, samples, &mut encoded)?;
        }
        if is_last {
            flush(&mut self.encoder, &mut encoded)?;
        }
        Ok(encoded.into())
    }
}

fn encode_block(
    encoder: &mut Encoder,
    samples: &[f32],
    encoded: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let clean = |sample: &f32| {
        // `clamp` lets NaN through.
        if sample.is_nan() {
            0.0
        } else {
            sample.clamp(-1.0, 1.0)
        }
    };
    let block: Vec<f32> = samples.iter().map(clean).collect();
    encoded.reserve(max_required_buffer_size(block.len()));
    encoder
        .encode_to_vec(MonoPcm(block.as_slice()), encoded)
        .map_err(|error| EncodeError::Lame(error.to_string()))?;
    Ok(())
}

fn flush(encoder: &mut Encoder, encoded: &mut Vec<u8>) -> Result<(), EncodeError> {
    encoded.reserve(FLUSH_BYTES);
    // The other flush, FlushNoGap, leaves out the last samples.
    encoder
        .flush_to_vec::<FlushGap>(encoded)
        .map_err(|error| EncodeError::Lame(error.to_string()))?;
    Ok(())
}

/// Whether a file begins with the tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Written,
    LeftOut,
}

/// The lowest rate of MP3 that keeps the whole spectrum, the highest if there is none.
fn nearest_mp3_rate(sample_rate_hz: u32) -> u32 {
    let [.., highest] = SAMPLE_RATES_HZ;
    SAMPLE_RATES_HZ
        .into_iter()
        .find(|&rate| rate >= sample_rate_hz)
        .unwrap_or(highest)
}

fn build_encoder(
    sample_rate_hz: u32,
    options: &Mp3Options,
    tag: Tag,
) -> Result<Encoder, EncodeError> {
    let bitrate = bitrate(options.bitrate_kbps)?;
    let setup = |error: mp3lame_encoder::BuildError| EncodeError::Setup(error.to_string());
    Builder::new()
        .ok_or_else(|| EncodeError::Setup("no memory".to_owned()))?
        .with_num_channels(1)
        .and_then(|builder| builder.with_mode(Mode::Mono))
        .and_then(|builder| builder.with_sample_rate(sample_rate_hz))
        // Without this LAME may choose a lower rate for the bit rate.
        .and_then(|builder| builder.with_output_sample_rate(sample_rate_hz.try_into().ok()))
        .and_then(|builder| builder.with_brate(bitrate))
        .and_then(|builder| builder.with_to_write_vbr_tag(tag == Tag::Written))
        .and_then(Builder::build)
        .map_err(setup)
}

fn bitrate(bitrate_kbps: u32) -> Result<Bitrate, EncodeError> {
    Ok(match bitrate_kbps {
        8 => Bitrate::Kbps8,
        16 => Bitrate::Kbps16,
        24 => Bitrate::Kbps24,
        32 => Bitrate::Kbps32,
        40 => Bitrate::Kbps40,
        48 => Bitrate::Kbps48,
        64 => Bitrate::Kbps64,
        80 => Bitrate::Kbps80,
        96 => Bitrate::Kbps96,
        112 => Bitrate::Kbps112,
        128 => Bitrate::Kbps128,
        160 => Bitrate::Kbps160,
        192 => Bitrate::Kbps192,
        224 => Bitrate::Kbps224,
        256 => Bitrate::Kbps256,
        320 => Bitrate::Kbps320,
        _ => return Err(EncodeError::UnsupportedBitrate { bitrate_kbps }),
    })
}

/// Replaces the empty frame that LAME put at the start by the tag with the stream's true length.
fn write_lame_tag(encoder: &Encoder, encoded: &mut [u8]) -> Result<(), EncodeError> {
    let size = encoder.lame_tag_size();
    if size == 0 {
        // At the lowest bit rates a frame has no room for the tag, and LAME put none there.
        return Ok(());
    }
    let mut tag = Vec::with_capacity(size);
    let Some(length) = encoder.lame_tag_encode_to_vec(&mut tag) else {
        return Err(EncodeError::Lame("no tag was made".to_owned()));
    };
    encoded
        .get_mut(..length.get())
        .ok_or_else(|| EncodeError::Lame("the tag is longer than the stream".to_owned()))?
        .copy_from_slice(&tag);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Stop;
    use crate::stages::decode::{DecodeLimits, Decoded, decode};

    fn tone(samples: usize, sample_rate_hz: u32) -> Pcm {
        let step = 440.0 / sample_rate_hz as f32 * std::f32::consts::TAU;
        let samples: Vec<f32> = (0..samples)
            .map(|n| (n as f32 * step).sin() * 0.5)
            .collect();
        Pcm::new(samples, sample_rate_hz)
    }

    fn decoded(mp3: &[u8]) -> Decoded {
        decode(mp3, &DecodeLimits::default(), &Deadline::none()).unwrap()
    }

    #[test]
    fn decoding_gives_back_every_sample() {
        for (samples, sample_rate_hz) in [
            (1, 24_000),
            (575, 24_000),
            (24_000, 24_000),
            (100_001, 24_000),
            (44_100, 44_100),
            (22_051, 22_050),
            (48_000, 48_000),
            (16_000, 16_000),
            (8_000, 8_000),
        ] {
            let original = tone(samples, sample_rate_hz);
            let decoded =
                decoded(&mp3(&original, &Mp3Options::default(), &Deadline::none()).unwrap());
            assert_eq!(decoded.codec, "mp3");
            assert!(!decoded.truncated);
            assert_eq!(decoded.pcm.sample_rate_hz(), sample_rate_hz);
            assert_eq!(
                decoded.pcm.samples().len(),
                samples,
                "{samples} at {sample_rate_hz} Hz"
            );
            if samples > 8_000 {
                // In place too: a shift by one sample gives an error of 0.029 at 48 kHz and more
                // below. LAME itself lowers the level by 5 %.
                let middle = samples / 2..samples / 2 + 1_000;
                let pairs = original.samples()[middle.clone()]
                    .iter()
                    .zip(&decoded.pcm.samples()[middle]);
                let worst = pairs.map(|(a, b)| (a * 0.95 - b).abs()).fold(0.0, f32::max);
                assert!(worst < 0.01, "{worst} at {sample_rate_hz} Hz");
            }
        }
    }

    #[test]
    fn a_rate_that_mp3_lacks_is_raised_to_the_next() {
        let decoded = decoded(
            &mp3(
                &tone(20_000, 20_000),
                &Mp3Options::default(),
                &Deadline::none(),
            )
            .unwrap(),
        );
        assert_eq!(decoded.pcm.sample_rate_hz(), 22_050);
        assert_eq!(decoded.pcm.duration_ms(), 1_000);
        assert_eq!(nearest_mp3_rate(96_000), 48_000);
    }

    #[test]
    fn hostile_samples_are_sanitised() {
        let mut samples = tone(24_000, 24_000).samples().to_vec();
        samples[5_000] = f32::NAN;
        samples[6_000] = f32::INFINITY;
        samples[7_000] = -1e30;
        let decoded = decoded(
            &mp3(
                &Pcm::new(samples, 24_000),
                &Mp3Options::default(),
                &Deadline::none(),
            )
            .unwrap(),
        );
        assert_eq!(decoded.pcm.samples().len(), 24_000);
        let power: f32 = decoded
            .pcm
            .samples()
            .iter()
            .map(|sample| sample * sample)
            .sum();
        // The tone's own is 24,000 / 8, of which LAME leaves 0.95².
        assert!((2_600.0..2_800.0).contains(&power), "{power}");
    }

    #[test]
    fn the_bit_rate_decides_the_size_and_is_checked() {
        let second = tone(24_000, 24_000);
        let size = |bitrate_kbps| {
            mp3(&second, &Mp3Options { bitrate_kbps }, &Deadline::none()).map(|mp3| mp3.len())
        };
        let (low, high) = (size(32).unwrap(), size(128).unwrap());
        assert!(
            (4_000..5_000).contains(&low) && (16_000..18_500).contains(&high),
            "{low}, {high}"
        );
        assert!(matches!(
            size(65),
            Err(EncodeError::UnsupportedBitrate { bitrate_kbps: 65 })
        ));
    }

    #[test]
    fn the_same_samples_give_the_same_bytes_and_none_an_error() {
        let pcm = tone(30_000, 24_000);
        let encode = || mp3(&pcm, &Mp3Options::default(), &Deadline::none()).unwrap();
        assert_eq!(encode(), encode());
        let unwanted = Deadline::none();
        unwanted.cancel();
        let stopped = mp3(&pcm, &Mp3Options::default(), &unwanted);
        assert!(matches!(
            stopped,
            Err(EncodeError::Stopped(Stop::Cancelled))
        ));
        let empty = mp3(
            &Pcm::new(Vec::new(), 24_000),
            &Mp3Options::default(),
            &Deadline::none(),
        );
        assert!(matches!(empty, Err(EncodeError::Empty)));
    }
}
