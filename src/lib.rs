//! A worker daemon that turns voice messages into transcripts, translations and speech in the
//! sender's own voice.
//!
//! ```text
//! gateway ──PUSH──▶ intake ──▶ ledger ──▶ scheduler ──▶ pipeline ──▶ outbox ──PUB──▶ gateway
//! ```
//!
//! The map, from the edges inwards; dependencies point one way, downwards:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`http`] | probes and metrics over HTTP |
//! | [`engine`] | the thread that owns an engine and the bounded queue before it |
//! | [`stages`] | the engines and codecs: decode, transcribe, translate, embed, synthesize, encode |
//! | [`registry`] | the models on disk: manifest, verification |
//! | [`onnx`] | the only place that builds ONNX Runtime sessions |
//! | [`observe`] | logs, metrics, health |
//! | [`error`] | stages, wire codes and reasons |
//! | [`domain`] | plain data: ids, languages, audio, transcripts, voices, jobs, deadlines |

pub mod domain;
pub mod engine;
pub mod error;
pub mod fault;
pub mod http;
pub mod observe;
pub mod onnx;
pub mod registry;
pub mod stages;
