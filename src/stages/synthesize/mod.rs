//! Text to speech in a given voice: XTTS v2 on ONNX Runtime.
//!
//! ```text
//! references ─▶ conditioning ─┐
//! text ─▶ plan (speakable, sentences, ids) ─▶ gpt (rows in slots) ─▶ vocoder (windows) ─▶ speech
//!                                              ▲ sampler ─┘
//! ```
//!
//! [`ConditioningEngine`] makes a voice from recordings, [`XttsEngine`] speaks in it. All sizes, ids
//! and defaults come from the model's `metadata.json` ([`XttsMetadata`]).

mod conditioning;
mod engine;
mod error;
#[cfg(test)]
mod golden_tests;
mod gpt;
mod metadata;
mod options;
mod plan;
mod sampler;
mod speakable;
mod speech;
mod text;
mod vocoder;

pub use conditioning::{ConditioningEngine, ConditioningRequest};
pub use engine::XttsEngine;
pub use error::SynthesizeError;
pub use metadata::{Ratio, SamplingDefaults, XttsMetadata};
pub use options::{Precision, SynthesizeOptions};
pub use sampler::SamplingHints;
pub use speech::{Speech, SpeechRequest, SpokenPart};
pub use text::TextError;
