//! Text to speech in a given voice: XTTS v2 on ONNX Runtime.

pub mod text;
