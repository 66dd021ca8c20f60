//! Events that belong to no translation job.

use serde::Serialize;

use crate::protocol::timestamp::Timestamp;

/// The answer to a ping, and the sign of life while nothing happens.
#[derive(Debug, Clone, Serialize)]
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
