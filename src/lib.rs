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
//! | [`commands`] | the command line: one file for each command |
//! | [`app`] | the composition root: builds everything, runs it, stops it in order |
//! | [`http`] | texts, voice messages as jobs, the voices that are kept and the voice API, what is installed, jobs for operators, probes, metrics, and a page for people, over HTTP |
//! | [`intake`] | receive, check, keep |
//! | [`scheduler`] | lanes and bounds: whose turn it is |
//! | [`pipeline`] | the path of one job as straight code |
//! | [`voices`] | the voices of users: made, kept, improved, chosen, deleted |
//! | [`outbox`] | stored events to the gateway, again where needed |
//! | [`store`] | results to MongoDB |
//! | [`ledger`] | jobs, attempts, checkpoints and events on disk |
//! | [`engine`] | the thread that owns an engine and the bounded queue before it |
//! | [`decoder`] | recordings decoded in processes of their own |
//! | [`stages`] | the engines and codecs: decode, transcribe, translate, embed, measure, synthesize, encode |
//! | [`registry`] | the models on disk: manifest, verification, pulling them from a hub |
//! | [`onnx`] | the only place that builds ONNX Runtime sessions |
//! | [`transport`] | the ZeroMQ sockets |
//! | [`protocol`] | the wire: requests in, events out |
//! | [`config`] | settings: defaults, file, environment |
//! | [`observe`] | logs, metrics, health |
//! | [`storage`] | whether the disk takes what must not be lost |
//! | [`fault`] | faults on demand, for tests |
//! | [`error`] | stages, wire codes and reasons |
//! | [`domain`] | plain data: languages, audio, transcripts, voices, measures, deadlines |

pub mod app;
pub mod commands;
pub mod config;
pub mod decoder;
pub mod domain;
pub mod engine;
pub mod error;
pub mod fault;
pub mod http;
pub mod intake;
pub mod ledger;
pub mod observe;
pub mod onnx;
pub mod outbox;
pub mod pipeline;
pub mod protocol;
pub mod registry;
pub mod scheduler;
pub mod stages;
pub mod storage;
pub mod store;
pub mod transport;
pub mod voices;
