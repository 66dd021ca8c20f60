//! Text to speech without a voice of its own: for languages that XTTS does not speak, and where no XTTS
//! is installed.
//!
//! ```text
//! text ─▶ units ─▶ espeak-ng ───────────────▶ samples ─▶ converter ─▶ the sender's voice
//!                     └─ phonemes ─▶ Piper ─▶    └─────────────────▶ or as it is
//! ```
//!
//! [espeak-ng](espeak) is a program that is run for each unit, never a part of this one; it speaks a
//! hundred languages understandably and like a machine. [Piper voices](piper) are VITS models that read
//! its phonemes and sound like people, one language each. The [converter] of OpenVoice makes
//! what either of them says sound like the sender.

mod catalogue;
mod converter;
mod engine;
mod error;
mod espeak;
mod phonemes;
mod piper;
mod plain;
mod program;
#[cfg(test)]
mod tests;
mod wav;

pub use catalogue::{BaseVoice, BaseVoices};
pub use converter::{CONVERTER_FILE, ToneConverter};
pub use engine::{BaseSpeech, BaseSpeechRequest, BaseVoiceEngine};
pub use error::BaseVoiceError;
pub use espeak::Espeak;
pub use piper::PiperVoice;
pub use program::ProgramError;
