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
//! | [`domain`] | plain data: ids, languages, audio, transcripts, voices, jobs, deadlines |
//! | [`onnx`] | the only place that builds ONNX Runtime sessions |
//! | [`config`] | settings: defaults, file, environment |
//! | [`protocol`] | the wire: requests in, events out |
//! | [`stages`] | the engines and codecs: decode, transcribe, translate, embed, synthesize, encode |
//! | [`store`] | the document database that results are copied to |
//! | [`engine`] | the thread that owns an engine and the bounded queue before it |

pub mod config;
pub mod domain;
pub mod engine;
pub mod error;
pub mod onnx;
pub mod protocol;
pub mod stages;
pub mod store;
