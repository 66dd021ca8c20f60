//! PCM to the formats that are given out: MP3 (LAME), WAV, and Opus in Ogg (libopus).

mod error;
mod format;
mod mp3;
mod ogg;
mod wav;

pub use error::EncodeError;
pub use format::{SpeechFormat, SpeechStream};
pub use mp3::{Mp3Options, mp3};
