//! Speech to text: whisper.cpp.
//!
//! A recording is cut to what somebody says in it ([`activity`], found by [`vad`] or, without that
//! model, [`energy`]), passes the model ([`recognizer`], with the language rules of [`language`] and as
//! much of the encoder's window as [`window`] says) and filters for invented text ([`guards`]), and is
//! cut into timed segments ([`words`], [`phrases`]).

mod activity;
mod energy;
mod error;
mod ggml;
mod guards;
mod language;
mod phrases;
mod recognizer;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
mod vad;
mod window;
mod words;

use std::path::Path;

use whisper_rs::{WhisperContext, WhisperContextParameters};

pub use self::error::TranscribeError;
pub use self::ggml::ModelFileError;
pub use self::vad::SileroVad;

use self::activity::{Activity, Cut};
use self::guards::Evidence;
use self::recognizer::{Recognition, Recognizer};
use self::words::{Utterance, Word};
use super::{Engine, Ticket};
use crate::domain::{Deadline, Language, Pcm, Segment, Transcript, TranscriptSource};

/// The rate that Whisper hears.
pub const SAMPLE_RATE_HZ: u32 = 16_000;
/// Most hypotheses that whisper.cpp follows at once (its `WHISPER_MAX_DECODERS`).
const MAX_BEAM_SIZE: usize = 8;

/// How the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WhisperOptions {
    /// Threads of one transcription; at least 1 is used. More than there are free cores makes it
    /// slower by far: ggml's threads wait for each other spinning.
    pub threads: usize,
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

/// The transcribe engine: one Whisper model, one recording at a time.
///
/// whisper.cpp decodes one recording per state, so there is nothing to gain from a batch: more
/// recordings at once are more engines, each with its own threads.
pub struct WhisperEngine {
    recognizer: Recognizer,
    vad: Option<SileroVad>,
    model_name: String,
    waiting: Option<(Ticket, TranscribeRequest)>,
}

/// True when Whisper writes the language.
pub fn knows(spoken: Language) -> bool {
    language::SpokenLanguage::from_language(spoken).is_some()
}

impl WhisperEngine {
    /// Loads a ggml model file.
    ///
    /// whisper.cpp's messages go to `tracing` under the target `whisper_rs`; they hold sizes and
    /// times, never text.
    ///
    /// # Errors
    /// The file is missing, damaged or without weights, or the GPU is asked for and not built in.
    pub fn load(model: &Path, options: WhisperOptions) -> Result<Self, TranscribeError> {
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
        Ok(Self {
            recognizer: Recognizer::new(context, options),
            vad: None,
            model_name: model_name(model),
            waiting: None,
        })
    }

    /// Lets a detector tell speech from music and noise; without one, whatever is loud is speech.
    #[must_use]
    pub fn with_vad(mut self, vad: Option<SileroVad>) -> Self {
        self.vad = vad;
        self
    }

    /// The name that transcripts carry, such as `large-v3`.
    pub fn model_name(&self) -> &str {
        &self.model_name
    }

    fn transcribe(&mut self, request: &TranscribeRequest) -> Result<Transcript, TranscribeError> {
        request.deadline.check()?;
        let pcm = &request.pcm;
        if pcm.sample_rate_hz() != SAMPLE_RATE_HZ {
            return Err(TranscribeError::SampleRate {
                found_hz: pcm.sample_rate_hz(),
            });
        }
        if i32::try_from(pcm.samples().len()).is_err() {
            return Err(TranscribeError::TooLong);
        }
        let (activity, cut) = self.speech_of(pcm.samples(), &request.deadline)?;
        if activity.is_silent() || cut.samples.is_empty() {
            let language = request.language_hint.unwrap_or(request.default_language);
            return Ok(self.transcript(language, 0.0, Vec::new(), pcm));
        }
        let mut recognition = self.recognizer.recognize(&cut.samples, request)?;
        for utterance in &mut recognition.utterances {
            let times = cut.restore(utterance.start_ms, utterance.end_ms);
            (utterance.start_ms, utterance.end_ms) = times;
        }
        let language = recognition.spoken.language;
        let (segments, confidence) = phrase_segments(recognition, &activity, pcm.duration_ms());
        Ok(self.transcript(language, confidence, segments, pcm))
    }

    /// When somebody speaks, and what of the recording is worth listening to.
    fn speech_of<'a>(
        &mut self,
        samples: &'a [f32],
        deadline: &Deadline,
    ) -> Result<(Activity, Cut<'a>), TranscribeError> {
        let loud = energy::measure(samples, SAMPLE_RATE_HZ);
        match &mut self.vad {
            Some(vad) if !loud.is_silent() => {
                let spoken = vad.listen(samples, deadline)?;
                let cut = Cut::to_speech(samples, SAMPLE_RATE_HZ, &spoken);
                Ok((spoken, cut))
            }
            // Loudness alone is too little to take anything out by.
            _ => Ok((loud, Cut::nothing(samples))),
        }
    }

    fn transcript(
        &self,
        language: Language,
        confidence: f32,
        segments: Vec<Segment>,
        pcm: &Pcm,
    ) -> Transcript {
        let texts: Vec<&str> = segments
            .iter()
            .map(|segment| segment.text.expose().as_str())
            .collect();
        Transcript {
            text: texts.join(" ").into(),
            language,
            confidence,
            source: TranscriptSource::Whisper,
            duration_ms: pcm.duration_ms(),
            model: Some(self.model_name.clone()),
            segments,
        }
    }
}

impl Engine for WhisperEngine {
    type Request = TranscribeRequest;
    type Output = Transcript;
    type Error = TranscribeError;

    fn vacancies(&self) -> usize {
        usize::from(self.waiting.is_none())
    }

    fn join(&mut self, ticket: Ticket, request: TranscribeRequest) {
        self.waiting = Some((ticket, request));
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_none()
    }

    fn step(&mut self) -> Vec<(Ticket, Result<Transcript, TranscribeError>)> {
        match self.waiting.take() {
            Some((ticket, request)) => vec![(ticket, self.transcribe(&request))],
            None => Vec::new(),
        }
    }
}

/// Turns what Whisper wrote into segments and the confidence of the whole.
///
/// The confidence is the language's probability times the mean token probability of what is left
/// after the guards; 0 when nothing is left.
fn phrase_segments(
    recognition: Recognition,
    activity: &Activity,
    duration_ms: u64,
) -> (Vec<Segment>, f32) {
    let language = recognition.spoken.language;
    let pauses = activity.pauses(phrases::MIN_PAUSE_MS);
    let mut utterances = recognition.utterances;
    let mut earliest_ms = 0;
    for utterance in &mut utterances {
        utterance.start_ms = utterance
            .start_ms
            .clamp(earliest_ms, duration_ms.max(earliest_ms));
        utterance.end_ms = utterance.end_ms.min(duration_ms).max(utterance.start_ms);
        earliest_ms = utterance.end_ms;
        words::assign_times(utterance, &pauses);
    }
    utterances.retain(|utterance| !is_invented(utterance, language, activity));
    drop_loops(&mut utterances);

    let words = utterances.iter().flat_map(|utterance| &utterance.words);
    let confidence = recognition.language_probability * words::mean_probability(words);
    let segments = utterances
        .iter()
        .flat_map(|utterance| phrases::segments(&utterance.words, language))
        .collect();
    (segments, confidence)
}

fn is_invented(utterance: &Utterance, language: Language, activity: &Activity) -> bool {
    let evidence = Evidence {
        duration_ms: utterance.end_ms - utterance.start_ms,
        confidence: words::mean_probability(&utterance.words),
        no_speech_probability: utterance.no_speech_probability,
        voiced_fraction: activity.voiced_fraction(utterance.start_ms, utterance.end_ms),
    };
    guards::is_hallucination(&words::join(&utterance.words), language, evidence)
}

/// Cuts endless repetition, which may run across utterances, to its first round.
fn drop_loops(utterances: &mut Vec<Utterance>) {
    let all: Vec<&str> = utterances
        .iter()
        .flat_map(|utterance| &utterance.words)
        .map(|word| word.text.as_str())
        .collect();
    let mut keep = guards::without_loops(&all).into_iter();
    for utterance in utterances.iter_mut() {
        utterance
            .words
            .retain(|_: &Word| keep.next().unwrap_or(true));
    }
    utterances.retain(|utterance| !utterance.words.is_empty());
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
