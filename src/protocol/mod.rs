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
    AUDIO_MP3, AdminMetrics, AudioFailure, AudioJob, AudioProcessCompleted, AudioTranslation,
    Event, Failure, FeedbackKept, HealthStatus, History, HistoryEntry, JobAccepted, JobCancelled,
    JobStatus, JobStatusName, LanguageFeatures, LanguageSupport, NewVoiceProfile, OriginalAudio,
    POOL_FULL, Pong, PoolType, ProfileDeleted, ProfileTranscription, StoryTextCompleted,
    TextErrorMetadata, TextMetadata, TextResult, TranscriptionResult, TranslatedAudio,
    TranslationCompleted, TranslationError, TranslationSkipped, UsedVoice, UserStats,
    VoiceApiError, VoiceApiResult, VoiceApiSuccess, VoiceErrorCode, VoiceHealth, VoiceJobProgress,
    VoiceLatency, VoicePreview, VoiceProfileAnalyzed, VoiceProfileCompared, VoiceProfileError,
    VoiceProfileSummary, VoiceProfileVerified, VoiceProfiles, VoiceServices, VoiceTranslation,
    VoiceTranslationAudio, VoiceTranslationCompleted, VoiceTranslationFailed,
};
pub use fields::fits_into_request;
pub use frames::Frames;
pub use request::{
    AudioProcessRequest, AudioSource, AudioSourceError, ExistingVoice, FeedbackKind,
    FeedbackRequest, Fingerprint, HistoryRequest, JobOptions, MAX_METADATA_BYTES,
    MAX_PREVIEW_CHARACTERS, MAX_TARGET_LANGUAGES, MobileTranscription, ModelType, Page, Problem,
    ProfileAnalysis, ProfileRequest, Rejection, Request, RequestError, RequestIds, RequestKind,
    RequestedLanguage, StatsPeriod, StoryTextRequest, TargetLanguages, TranscriptionRequest,
    TranslationRequest, VoiceApiRequest, VoiceCall, VoiceCloneHints, VoiceProfileCall,
    VoiceProfileRequest, VoiceTranslateRequest, parse, readable_request,
};
pub use timestamp::Timestamp;
