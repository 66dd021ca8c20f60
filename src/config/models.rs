use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where models are, and what runs them.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Folder with `manifest.toml`.
    pub path: PathBuf,
    /// ONNX Runtime's shared library; `None` looks where it usually is.
    pub onnxruntime_library: Option<PathBuf>,
    /// What ONNX models run on.
    pub device: DeviceChoice,
    /// Engines whose models are loaded by their first request, not at start.
    pub lazy: Vec<EngineName>,
    /// Licences of weights that the operator accepts.
    pub accept_licenses: Vec<String>,
}

/// An engine, by its name in logs, metrics and `/health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineName {
    /// Speech to text.
    Transcribe,
    /// Text to text.
    Translate,
    /// Recording to speaker embedding.
    Embed,
    /// Recordings to what speech is conditioned on.
    Condition,
    /// Text to speech.
    Synthesize,
}

/// What models shall run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// CUDA where it works, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// CUDA or nothing.
    Cuda,
}
