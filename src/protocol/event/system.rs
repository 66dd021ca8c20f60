//! Events that belong to no translation job.

use serde::Serialize;

use crate::protocol::timestamp::Timestamp;

/// The answer to a ping, and the sign of life while nothing happens.
#[derive(Clone, Serialize)]
pub struct Pong {
    timestamp: Timestamp,
    translator_status: &'static str,
    translator_port_pub: u16,
    translator_port_pull: u16,
    audio_pipeline_available: bool,
}

impl Pong {
    /// A sign of life of a daemon that listens on these ports.
    pub fn new(
        pull_port: u16,
        pub_port: u16,
        audio_pipeline_available: bool,
        timestamp: Timestamp,
    ) -> Self {
        Self {
            timestamp,
            translator_status: "alive",
            translator_port_pub: pub_port,
            translator_port_pull: pull_port,
            audio_pipeline_available,
        }
    }
}

/// Why a request of the voice API failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VoiceErrorCode {
    /// It lacks something, or asks for what is not offered.
    InvalidRequest,
}

/// `voice_api_error`
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceApiError {
    /// The request's id.
    pub task_id: String,
    /// The request's type.
    pub request_type: String,
    /// For people.
    pub error: String,
    /// For programs.
    pub error_code: VoiceErrorCode,
    /// Now.
    pub timestamp: Timestamp,
}
