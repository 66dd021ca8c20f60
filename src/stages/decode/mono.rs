//! Turns decoded packets into mono samples, within the limits.

use symphonia::core::audio::GenericAudioBufferRef;

use super::SampleSink;
use super::container::AudioTrack;
use super::error::DecodeError;
use super::limits::DecodeLimits;

/// Counts the mono samples decoded so far.
pub(super) struct MonoSamples<'a> {
    limits: &'a DecodeLimits,
    count: usize,
    format: Option<Format>,
    /// One vector of samples per channel, kept between packets. The first becomes their average.
    planes: Vec<Vec<f32>>,
}

#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) sample_rate_hz: u32,
    pub(super) channels: u16,
    max_samples: usize,
    too_many: fn(&DecodeLimits) -> DecodeError,
}

impl<'a> MonoSamples<'a> {
    pub(super) fn new(limits: &'a DecodeLimits) -> Self {
        Self {
            limits,
            count: 0,
            format: None,
            planes: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// False when the buffer has another sample rate than those before it.
    pub(super) fn accepts(&self, buffer: &GenericAudioBufferRef<'_>) -> bool {
        self.format
            .is_none_or(|format| format.sample_rate_hz == buffer.spec().rate())
    }

    /// Gives a buffer without its first `skip` frames to `sink`, and the number of its samples back.
    ///
    /// # Errors
    /// A limit, or the sink stops.
    pub(super) fn push(
        &mut self,
        buffer: &GenericAudioBufferRef<'_>,
        skip: usize,
        sink: SampleSink<'_>,
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
        let fresh = first.get_mut(skip..).unwrap_or_default();
        if self.count + fresh.len() > format.max_samples {
            return Err((format.too_many)(self.limits));
        }
        let gain = 1.0 / (others.len() + 1) as f32;
        for sample in fresh.iter_mut() {
            *sample *= gain;
            // Float formats may hold anything; `clamp` lets NaN through.
            *sample = if sample.is_nan() {
                0.0
            } else {
                sample.clamp(-1.0, 1.0)
            };
        }
        sink(fresh)?;
        self.count += fresh.len();
        Ok(fresh.len())
    }

    /// The number of samples without the silence that an MP3 encoder put behind the recording, if its
    /// tag fits what was decoded. A tag that lies, or a stream that was cut or continued, changes nothing.
    pub(super) fn without_padding(&self, track: &AudioTrack) -> usize {
        let Some(tag) = track.lame_tag() else {
            return self.count;
        };
        let excess = (self.count as u64).checked_sub(tag.frames);
        match (excess, usize::try_from(tag.frames)) {
            (Some(excess), Ok(frames)) if excess <= tag.padding => frames,
            _ => self.count,
        }
    }

    /// What was decoded; `None` while nothing was.
    pub(super) fn format(&self) -> Option<Format> {
        self.format
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
