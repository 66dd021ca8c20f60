//! Text to text: MarianMT on ONNX Runtime.
//!
//! ```text
//! text ─ structure ─▶ prose ─ chunk ─▶ sentences ─▶ cohorts of one model ─ guard ─▶ text
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`engine`] | the batch: requests in, cohorts stepped in turn, texts out |
//! | `line` | sentences that wait for a cohort, and whose is next |
//! | `cohorts` | those that run: places, turns, and who has to leave |
//! | [`job`] | one request on its way: parts, chunks, legs, retries |
//! | [`models`] | loaded checkpoints, least recently used ones leave |
//! | [`route`] | which installed models lead from one language to another |
//! | [`structure`] | what of a text is translated and what is kept byte for byte |
//! | [`chunk`] | prose in pieces that a model takes in one pass |
//! | [`guard`] | which outputs are no translations |
//! | [`tokenizer`] | text to ids and back |
//! | [`marian`] | graphs, greedy and beam search |

pub mod chunk;
mod cohorts;
pub mod engine;
pub mod error;
pub mod guard;
pub mod job;
mod line;
pub mod marian;
pub mod models;
pub mod route;
pub mod structure;
pub mod tokenizer;

pub use engine::TranslateEngine;
pub use error::{ModelError, TranslateError};
pub use guard::{BadOutput, OutputLimits};
pub use job::{Request, Translation};
pub use route::{Pair, Route, Routes};

/// How much work goes into a translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quality {
    /// Greedy search.
    #[default]
    Basic,
    /// Greedy search; the level exists because requests name it.
    Medium,
    /// Beam search with the beams that the checkpoint was tuned for.
    Premium,
}

impl Quality {
    /// The level's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Medium => "medium",
            Self::Premium => "premium",
        }
    }
}

/// Whose turn comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A text, whose reader waits for the translation alone.
    Text,
    /// The words of a recording, which take much longer elsewhere.
    Recording,
}

/// Which of two files of a graph is taken when a model directory holds both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The quantized one.
    #[default]
    Int8,
    /// The full one.
    Fp32,
}

/// Settings of the engine. A limit of 0 counts as 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TranslateOptions {
    /// Threads inside an operator.
    pub threads: usize,
    /// Which graph file is preferred.
    pub precision: Precision,
    /// Checkpoints in memory at a time.
    pub max_loaded_models: usize,
    /// Requests in the engine at a time.
    pub max_requests: usize,
    /// Batches that run at a time; texts and recordings leave each other one at least.
    pub max_cohorts: usize,
    /// Decoder rows (sentences × beams) of a batch.
    pub max_batch_rows: usize,
    /// Characters of a request's text.
    pub max_text_characters: usize,
    /// Characters of a sentence.
    pub max_chunk_characters: usize,
    /// Ids generated for a sentence.
    pub max_new_tokens: usize,
    /// Which outputs are refused.
    pub output_limits: OutputLimits,
}

impl Default for TranslateOptions {
    /// The limits of the service that this daemon replaces, and batches that fit into a small machine.
    fn default() -> Self {
        Self {
            threads: 1,
            precision: Precision::default(),
            max_loaded_models: 4,
            max_requests: 64,
            max_cohorts: 4,
            max_batch_rows: 32,
            max_text_characters: 100_000,
            max_chunk_characters: 200,
            max_new_tokens: 256,
            output_limits: OutputLimits::default(),
        }
    }
}
