//! The wire: what the gateway sends and what it is told.
//!
//! Both directions use the same framing: frame 0 is one JSON object, every further frame is raw
//! bytes. [`parse`] turns received frames into a [`Request`]; [`Event::frames`] turns an [`Event`]
//! into frames to publish. Nothing here performs I/O.
//!
//! What a peer sends is not trusted: required fields are checked, optional fields of the wrong type
//! count as absent, frame numbers are checked against the frames that came.

mod event;
mod fields;
mod frames;
mod request;
#[cfg(test)]
mod tests;
mod timestamp;

pub use event::{
    AUDIO_MP3, AudioFailure, AudioJob, AudioProcessCompleted, AudioTranslation, Event, Failure,
    NewVoiceProfile, POOL_FULL, Pong, PoolType, StoryTextCompleted, TextErrorMetadata,
    TextMetadata, TextResult, TranscriptionResult, TranslatedAudio, TranslationCompleted,
    TranslationError, TranslationSkipped, VoiceApiError, VoiceErrorCode,
};
pub use frames::Frames;
pub use request::{
    AudioProcessRequest, AudioSource, AudioSourceError, ExistingVoice, MobileTranscription,
    ModelType, Problem, Rejection, Request, RequestError, RequestIds, RequestKind,
    RequestedLanguage, StoryTextRequest, TargetLanguages, TranscriptionRequest, TranslationRequest,
    VoiceCloneHints, parse,
};
pub use timestamp::Timestamp;
