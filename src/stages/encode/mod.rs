//! PCM to MP3: LAME.

mod error;
mod mp3;

pub use error::EncodeError;
pub use mp3::{Mp3Options, mp3};
