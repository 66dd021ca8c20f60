//! Speech to text: whisper.cpp.
//!
//! A [`listener`] cuts a recording to what somebody says in it ([`activity`], found by [`vad`] or, without that
//! model, [`energy`]); it passes the model ([`recognizer`], with the language rules of [`language`], as
//! much of the encoder's window as [`window`] says, and [`watch`] asking for the language) and filters for invented text ([`guards`]), and is
//! cut into timed segments ([`words`], [`phrases`]).

mod activity;
mod energy;
mod error;
mod ggml;
mod guards;
mod language;
mod listener;
#[cfg(test)]
mod made_models;
mod phrases;
mod recognizer;
#[cfg(test)]
mod tests;
mod vad;
mod watch;
mod window;
mod words;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use whisper_rs::{WhisperContext, WhisperContextParameters};

pub use self::error::TranscribeError;
pub use self::ggml::ModelFileError;
pub use self::vad::SileroVad;

use self::listener::Listener;
use self::recognizer::Recognizer;
use super::workers::{Workers, WorkersError};
use super::{Engine, Ticket};
use crate::domain::{Deadline, Language, Pcm, Transcript};

/// The rate that Whisper hears.
pub const SAMPLE_RATE_HZ: u32 = 16_000;
/// Most hypotheses that whisper.cpp follows at once (its `WHISPER_MAX_DECODERS`).
const MAX_BEAM_SIZE: usize = 8;
/// Recordings that are heard at once at most: each has caches of its own, 0.3 GB with large-v3 (32 layers of 448 + 1500
/// positions, keys and values of 1280 in 2 bytes).
const MAX_AT_ONCE: usize = 4;
/// Longest wait for a recording while another could be heard beside it.
const PATIENCE: Duration = Duration::from_millis(20);
/// Longest wait for a recording when no other could be heard beside it.
const LONG_PATIENCE: Duration = Duration::from_secs(1);

/// How the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WhisperOptions {
    /// Threads of a recording that comes alone; at least 1 is used. More than there are free cores makes
    /// it slower by far: ggml's threads wait for each other spinning.
    pub threads: usize,
    /// Recordings that are heard at once, 1 to 4 (others are brought into that range). Those that wait share the
    /// threads; where there are too few, each has one of its own, which waits for no other.
    pub at_once: usize,
    /// Hypotheses followed at once, 1 to 8 (others are brought into that range); 1 is greedy.
    pub beam_size: usize,
    /// Run on the GPU; needs the cargo feature `cuda`.
    pub use_gpu: bool,
    /// Encode a window of 30 s for every recording, as Whisper was trained; else short ones get a shorter
    /// one first.
    pub full_window: bool,
}

impl Default for WhisperOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            at_once: 1,
            beam_size: 1,
            use_gpu: false,
            full_window: false,
        }
    }
}

impl WhisperOptions {
    fn threads(self) -> usize {
        self.threads.max(1)
    }

    fn beam_size(self) -> i32 {
        self.beam_size.clamp(1, MAX_BEAM_SIZE) as i32
    }
}

/// A recording to transcribe.
#[derive(Debug, Clone)]
pub struct TranscribeRequest {
    /// The recording, at [`SAMPLE_RATE_HZ`], of any length.
    pub pcm: Pcm,
    /// The language that the sender declared. Wins over Whisper's guess when the recording was
    /// declared to be short or the guess is unsure; left aside when Whisper does not know it.
    pub language_hint: Option<Language>,
    /// The length that the sender declared.
    pub declared_duration_ms: Option<u64>,
    /// The language of a recording in which nobody speaks, when nothing was declared.
    pub default_language: Language,
    /// When to stop. Looked at after each encoder pass (30 s of audio) and each decoded token.
    pub deadline: Deadline,
}

/// The transcribe engine: one Whisper model, and several recordings at once.
///
/// whisper.cpp decodes one recording per state, and several threads inside a small product wait for each other more than
/// they compute; so recordings that wait share the threads, at least one each, while one that comes alone has
/// them all.
pub struct WhisperEngine {
    listeners: Workers<Recording, Transcribed>,
    /// Threads for one that comes alone.
    threads: usize,
    /// Recordings that are heard at once.
    at_once: usize,
    /// Threads that recordings have.
    used_threads: usize,
    waiting: VecDeque<(Ticket, TranscribeRequest)>,
    has_advanced: bool,
}

/// A recording and the threads that it has.
struct Recording {
    ticket: Ticket,
    request: TranscribeRequest,
    threads: usize,
}

/// What became of it.
struct Transcribed {
    ticket: Ticket,
    transcript: Result<Transcript, TranscribeError>,
    threads: usize,
}

/// True when Whisper writes the language.
pub fn knows(spoken: Language) -> bool {
    language::SpokenLanguage::from_language(spoken).is_some()
}

impl WhisperEngine {
    /// Loads a ggml model file, and for each recording that can be heard at once a detector that tells speech from music
    /// and noise, if `load_vad` has one; without, whatever is loud is speech.
    ///
    /// whisper.cpp's messages go to `tracing` under the target `whisper_rs`; they hold sizes and
    /// times, never text.
    ///
    /// # Errors
    /// A file is missing, damaged or without weights, or the GPU is asked for and not built in.
    pub fn load(
        model: &Path,
        options: WhisperOptions,
        load_vad: impl Fn() -> Result<Option<SileroVad>, TranscribeError> + Send + Sync + 'static,
    ) -> Result<Self, TranscribeError> {
        whisper_rs::install_logging_hooks();
        if options.use_gpu && !cfg!(feature = "cuda") {
            return Err(TranscribeError::NoGpu);
        }
        ggml::check(model).map_err(|source| TranscribeError::ModelFile {
            path: model.to_owned(),
            source,
        })?;
        let mut parameters = WhisperContextParameters::new();
        parameters.use_gpu(options.use_gpu);
        let context = WhisperContext::new_with_params(model, parameters).map_err(|source| {
            TranscribeError::Load {
                path: model.to_owned(),
                source,
            }
        })?;
        let (context, name) = (Arc::new(context), Arc::from(model_name(model)));
        let load = move || {
            let recognizer = Recognizer::new(Arc::clone(&context), options);
            let listener = Listener::new(recognizer, load_vad()?, Arc::clone(&name));
            Ok(listener.into_worker())
        };
        let at_once = options.at_once.clamp(1, MAX_AT_ONCE);
        let listeners =
            Workers::spawn("whisper", at_once, 0, load).map_err(|error| match error {
                WorkersError::Thread(error) => TranscribeError::Thread(error),
                WorkersError::Load(error) => error,
            })?;
        Ok(Self {
            listeners,
            threads: options.threads(),
            at_once,
            used_threads: 0,
            waiting: VecDeque::new(),
            has_advanced: false,
        })
    }

    /// Gives the recordings that wait the threads that are free, and at least one each.
    fn start(&mut self) {
        let parts = self.waiting.len();
        let free_threads = self.threads.saturating_sub(self.used_threads);
        let shares = shares(free_threads.max(parts), parts);
        for ((ticket, request), threads) in self.waiting.drain(..).zip(shares) {
            self.used_threads += threads;
            self.listeners.start(Recording {
                ticket,
                request,
                threads,
            });
        }
    }
}

/// How `parts` parts share a number of threads, none of which stays free.
fn shares(threads: usize, parts: usize) -> impl Iterator<Item = usize> {
    (0..parts).map(move |part| threads / parts + usize::from(part < threads % parts))
}

impl Engine for WhisperEngine {
    type Request = TranscribeRequest;
    type Output = Transcript;
    type Error = TranscribeError;

    fn vacancies(&self) -> usize {
        // One that came alone may have the threads of several.
        let budget = self.threads.max(self.at_once);
        let places = self.listeners.vacancies();
        places.min(budget - self.used_threads) - self.waiting.len()
    }

    fn join(&mut self, ticket: Ticket, request: TranscribeRequest) {
        self.waiting.push_back((ticket, request));
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.listeners.are_idle()
    }

    fn step(&mut self) -> Vec<(Ticket, Result<Transcript, TranscribeError>)> {
        self.start();
        let mut patience = match self.vacancies() {
            0 => LONG_PATIENCE,
            _ => PATIENCE,
        };
        let mut done = Vec::new();
        while let Some(heard) = self.listeners.finished(patience) {
            patience = Duration::ZERO;
            self.used_threads -= heard.threads;
            done.push((heard.ticket, heard.transcript));
        }
        self.has_advanced = !done.is_empty();
        done
    }

    fn has_advanced(&self) -> bool {
        self.has_advanced
    }
}

/// `ggml-large-v3-q5_0.bin` is `large-v3`.
fn model_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.strip_prefix("ggml-").unwrap_or(&stem);
    match name.rsplit_once('-') {
        Some((base, quantization)) if is_quantization(quantization) => base,
        _ => name,
    }
    .to_owned()
}

/// True for the suffixes of quantised files: `q5_0`, `q8_0`, `q4_k`.
fn is_quantization(suffix: &str) -> bool {
    let mut bytes = suffix.bytes();
    bytes.next() == Some(b'q')
        && bytes.next().is_some_and(|byte| byte.is_ascii_digit())
        && bytes.next() == Some(b'_')
}
