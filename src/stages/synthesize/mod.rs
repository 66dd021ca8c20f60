//! Text to speech: XTTS v2 on ONNX Runtime in a given voice, and [base voices](base) for what it does
//! not speak.
//!
//! ```text
//! references ─▶ conditioning ─┐
//! text ─▶ plan (speakable, sentences, ids) ─▶ gpt (rows in slots) ─▶ vocoder (windows) ─▶ speech
//!                                              ▲ sampler ─┘
//! ```
//!
//! [`ConditioningEngine`] makes a voice from recordings, [`XttsEngine`] speaks in it. All sizes, ids
//! and defaults come from the model's `metadata.json` ([`XttsMetadata`]).

pub mod base;
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
pub use options::{Precision, SynthesizeOptions, decoder_device};
pub use sampler::SamplingHints;
pub use speech::{Speech, SpeechRequest, SpokenPart};
pub use text::{TextError, split_sentences};
