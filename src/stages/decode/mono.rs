//! Collects decoded packets as mono samples, within the limits.

use symphonia::core::audio::GenericAudioBufferRef;

use super::container::AudioTrack;
use super::error::DecodeError;
use super::limits::DecodeLimits;
use crate::domain::Pcm;

/// Mono samples decoded so far.
pub(super) struct MonoSamples<'a> {
    limits: &'a DecodeLimits,
    samples: Vec<f32>,
    format: Option<Format>,
    /// One vector of samples per channel, kept between packets.
    planes: Vec<Vec<f32>>,
}

#[derive(Clone, Copy)]
struct Format {
    sample_rate_hz: u32,
    channels: u16,
    max_samples: usize,
    too_many: fn(&DecodeLimits) -> DecodeError,
}

impl<'a> MonoSamples<'a> {
    pub(super) fn new(limits: &'a DecodeLimits) -> Self {
        Self {
            limits,
            samples: Vec::new(),
            format: None,
            planes: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Channels of the source.
    pub(super) fn channels(&self) -> u16 {
        self.format.map_or(0, |format| format.channels)
    }

    /// False when the buffer has another sample rate than those before it.
    pub(super) fn accepts(&self, buffer: &GenericAudioBufferRef<'_>) -> bool {
        self.format
            .is_none_or(|format| format.sample_rate_hz == buffer.spec().rate())
    }

    /// Appends a buffer without its first `skip` frames; gives the number of samples appended.
    ///
    /// # Errors
    /// A limit.
    pub(super) fn push(
        &mut self,
        buffer: &GenericAudioBufferRef<'_>,
        skip: usize,
    ) -> Result<usize, DecodeError> {
        if buffer.frames() == 0 {
            return Ok(0);
        }
        let format = match self.format {
            Some(format) => format,
            None => *self.format.insert(Format::of(buffer, self.limits)?),
        };
        buffer.copy_to_vecs_planar(&mut self.planes);
        let [first, others @ ..] = self.planes.as_mut_slice() else {
            return Ok(0);
        };
        for other in others.iter() {
            for (sum, sample) in first.iter_mut().zip(other) {
                *sum += sample;
            }
        }
        let fresh = first.get(skip..).unwrap_or_default();
        if self.samples.len() + fresh.len() > format.max_samples {
            return Err((format.too_many)(self.limits));
        }
        let gain = 1.0 / (others.len() + 1) as f32;
        self.samples.extend(fresh.iter().map(|&sum| {
            let sample = sum * gain;
            // Float formats may hold anything; `clamp` lets NaN through.
            if sample.is_nan() {
                0.0
            } else {
                sample.clamp(-1.0, 1.0)
            }
        }));
        Ok(fresh.len())
    }

    /// Cuts the silence that an MP3 encoder put behind the recording, if its tag fits what was
    /// decoded. A tag that lies, or a stream that was cut or continued, changes nothing.
    pub(super) fn trim_padding(&mut self, track: &AudioTrack) {
        let Some(tag) = track.lame_tag() else { return };
        let excess = (self.samples.len() as u64).checked_sub(tag.frames);
        if let (Some(excess), Ok(frames)) = (excess, usize::try_from(tag.frames))
            && excess <= tag.padding
        {
            self.samples.truncate(frames);
        }
    }

    pub(super) fn into_pcm(self) -> Pcm {
        let sample_rate_hz = self.format.map_or(0, |format| format.sample_rate_hz);
        Pcm::new(self.samples, sample_rate_hz)
    }
}

impl Format {
    /// What a buffer really is: it may differ from what the headers said.
    fn of(buffer: &GenericAudioBufferRef<'_>, limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let sample_rate_hz = buffer.spec().rate();
        limits.check_sample_rate(sample_rate_hz)?;
        let channels = limits.check_channels(buffer.num_planes())?;
        let by_duration = limits.max_duration_ms.saturating_mul(sample_rate_hz.into()) / 1000;
        let by_duration = usize::try_from(by_duration).unwrap_or(usize::MAX);
        let by_bytes = limits.max_decoded_bytes / size_of::<f32>();
        let too_many: fn(&DecodeLimits) -> DecodeError = if by_duration <= by_bytes {
            |limits| DecodeError::TooLong {
                max_duration_ms: limits.max_duration_ms,
            }
        } else {
            |limits| DecodeError::DecodedTooLarge {
                max_bytes: limits.max_decoded_bytes,
            }
        };
        Ok(Self {
            sample_rate_hz,
            channels,
            max_samples: by_duration.min(by_bytes),
            too_many,
        })
    }
}
