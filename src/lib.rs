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
//! | [`stages`] | the engines and codecs: decode, transcribe, translate, embed, synthesize, encode |
//! | [`engine`] | the thread that owns an engine and the bounded queue before it |
//! | [`ledger`] | jobs, attempts, checkpoints, events and document writes, durable; payloads as files |
//! | [`transport`] | the sockets: frames in, frames out |
//! | [`outbox`] | publishes stored events in order, holds them, replays them |

pub mod domain;
pub mod engine;
pub mod error;
pub mod ledger;
pub mod onnx;
pub mod outbox;
pub mod stages;
pub mod transport;
