//! Recording to speaker embedding: OpenVoice on ONNX Runtime.
//!
//! The embedding tells who speaks. The procedure is that of OpenVoice V2: pieces of ten seconds, the
//! plain mean of their embeddings. Two exports of the network are read: ours, which takes `audio` [1, samples] and gives `se` [1, dim, 1], and
//! the published extractor, which takes `audio` [samples, channels] and gives `se` [channels, dim].

mod error;

use std::ops::Range;
use std::path::Path;

use ort::session::Session;
use ort::value::TensorRef;

pub use error::EmbedError;

use crate::domain::voice::SpeakerEmbedding;
use crate::domain::{Deadline, Pcm};
use crate::onnx::Onnx;
use crate::stages::{Engine, Ticket};

/// Sample rate of OpenVoice V2.
pub const SAMPLE_RATE_HZ: u32 = 22_050;

/// Below this the embedding says more about the words than about the voice.
const MINIMUM_MS: u64 = 1_500;

/// Length of audio that the reference procedure averages over, in seconds.
const PIECE_S: usize = 10;

/// A recording whose speaker is wanted.
pub struct EmbedRequest {
    /// Speech at [`SAMPLE_RATE_HZ`].
    pub pcm: Pcm,
    /// When nobody waits any more.
    pub deadline: Deadline,
}

/// How the graph takes a mono recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// [1, samples], any length.
    RowOfSamples,
    /// [samples, 1]; the graph uses the first ten seconds only.
    ColumnOfSamples,
}

/// OpenVoice's tone colour extractor.
pub struct OpenVoiceEngine {
    session: Session,
    layout: Layout,
    pending: Option<(Ticket, EmbedRequest)>,
}

impl OpenVoiceEngine {
    /// Loads the graph in the file `model`.
    ///
    /// # Errors
    /// The file is missing, or is no tone colour extractor.
    pub fn load(onnx: &Onnx, model: &Path, threads: usize) -> Result<Self, EmbedError> {
        let session = onnx.session(model, threads).map_err(EmbedError::Load)?;
        let shape = session
            .inputs()
            .iter()
            .find(|input| input.name() == "audio")
            .and_then(|input| input.dtype().tensor_shape())
            .ok_or(EmbedError::Signature("it has no input `audio`"))?;
        if !session.outputs().iter().any(|output| output.name() == "se") {
            return Err(EmbedError::Signature("it has no output `se`"));
        }
        let layout = match **shape {
            [1, _] => Layout::RowOfSamples,
            [_, _] => Layout::ColumnOfSamples,
            _ => return Err(EmbedError::Signature("its input `audio` is no matrix")),
        };
        Ok(Self {
            session,
            layout,
            pending: None,
        })
    }

    /// The embedding of one recording's speaker.
    ///
    /// # Errors
    /// The recording is too short or of another rate, or the model fails.
    pub fn embed(&mut self, request: &EmbedRequest) -> Result<SpeakerEmbedding, EmbedError> {
        let pcm = &request.pcm;
        if pcm.sample_rate_hz() != SAMPLE_RATE_HZ {
            return Err(EmbedError::SampleRate {
                expected_hz: SAMPLE_RATE_HZ,
                actual_hz: pcm.sample_rate_hz(),
            });
        }
        if pcm.duration_ms() < MINIMUM_MS {
            return Err(EmbedError::TooShort {
                duration_ms: pcm.duration_ms(),
                minimum_ms: MINIMUM_MS,
            });
        }
        let pieces = pieces(pcm.samples().len(), self.layout);
        let mut sum = Vec::new();
        for piece in &pieces {
            request.deadline.check()?;
            let embedding = self.embed_piece(&pcm.samples()[piece.clone()])?;
            sum.resize(embedding.len(), 0.0);
            for (total, value) in sum.iter_mut().zip(&embedding) {
                *total += value / pieces.len() as f32;
            }
        }
        if sum.is_empty() || sum.iter().any(|value| !value.is_finite()) {
            return Err(EmbedError::BadOutput);
        }
        Ok(SpeakerEmbedding(sum.into()))
    }

    fn embed_piece(&mut self, samples: &[f32]) -> Result<Vec<f32>, EmbedError> {
        let shape = match self.layout {
            Layout::RowOfSamples => [1, samples.len()],
            Layout::ColumnOfSamples => [samples.len(), 1],
        };
        let audio = TensorRef::from_array_view((shape, samples))?;
        let outputs = self.session.run(ort::inputs!["audio" => audio])?;
        let embedding = outputs.get("se").ok_or(EmbedError::BadOutput)?;
        Ok(embedding.try_extract_tensor::<f32>()?.1.to_vec())
    }
}

impl Engine for OpenVoiceEngine {
    type Request = EmbedRequest;
    type Output = SpeakerEmbedding;
    type Error = EmbedError;

    fn vacancies(&self) -> usize {
        usize::from(self.pending.is_none())
    }

    fn join(&mut self, ticket: Ticket, request: EmbedRequest) {
        self.pending = Some((ticket, request));
    }

    fn is_idle(&self) -> bool {
        self.pending.is_none()
    }

    fn step(&mut self) -> Vec<(Ticket, Result<SpeakerEmbedding, EmbedError>)> {
        let Some((ticket, request)) = self.pending.take() else {
            return Vec::new();
        };
        vec![(ticket, self.embed(&request))]
    }
}

/// Cuts `samples` into pieces of equal length, as many as there are ten seconds.
///
/// The reference rounds half to even and fails on none; here there is at least one. Where the graph
/// uses ten seconds only, the number is rounded up, so that no piece is longer.
fn pieces(samples: usize, layout: Layout) -> Vec<Range<usize>> {
    let piece = PIECE_S * SAMPLE_RATE_HZ as usize;
    let count = match layout {
        Layout::RowOfSamples => (samples as f64 / piece as f64).round_ties_even() as usize,
        Layout::ColumnOfSamples => samples.div_ceil(piece),
    }
    .max(1);
    (0..count)
        .map(|i| samples * i / count..samples * (i + 1) / count)
        .collect()
}

#[cfg(test)]
mod tests;
