//! Plain data of the field: no I/O, no async, no engine.

pub mod audio;
pub mod deadline;
pub mod digest;
pub mod language;
mod language_names;
pub mod measures;
pub mod private;
pub mod timestamp;
pub mod transcript;
pub mod voice;

pub use audio::{Pcm, Recording};
pub use deadline::{Deadline, Stop};
pub use language::Language;
pub use measures::VoiceMeasures;
pub use private::{JsonError, Private, PrivateBytes, PrivateText};
pub use transcript::{Segment, Transcript, TranscriptSource};
