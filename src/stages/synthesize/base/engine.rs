//! The engine: one thread for all base voices, requests taking turns by units.
//!
//! A request is first spoken, unit by unit, then converted, unit by unit, then measured. What cannot be
//! converted is given out as it was spoken.

use std::collections::VecDeque;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::BaseVoiceError;
use super::catalogue::{BaseVoice, BaseVoices};
use super::converter::ToneConverter;
use super::phonemes::{append, clauses, ids};
use super::piper::{PiperModel, PiperVoice};
use super::plain::{pieces, units};
use crate::domain::voice::SpeakerEmbedding;
use crate::domain::{Deadline, Language, Pcm, PrivateText};
use crate::error::error_chain;
use crate::onnx::Onnx;
use crate::stages::decode::resample;
use crate::stages::embed::SAMPLE_RATE_HZ;
use crate::stages::synthesize::{Speech, SpokenPart};
use crate::stages::{Engine, Ticket};

/// Silence between two units.
const PAUSE_MS: usize = 150;

/// Requests in the engine: one speaks, the others wait for their turn.
const MAX_REQUESTS: usize = 8;

/// Piper voices in memory; the one unused longest makes room. A voice takes 30 to 120 MB.
const MAX_LOADED_VOICES: usize = 4;

/// Ids of one run of a Piper voice: attention takes their square.
const MAX_IDS: usize = 1_500;

/// What a base voice says for its own embedding: every language can read numbers aloud.
const SAMPLE_TEXT: &str = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20.";

/// A text to be spoken by the base voice of its language.
pub struct BaseSpeechRequest {
    /// What to say; any length, any structure.
    pub text: PrivateText,
    /// The language of the text.
    pub language: Language,
    /// Whose voice it is to be; `None` for the base voice's own.
    pub target: Option<SpeakerEmbedding>,
    /// The same text, target and seed are converted alike.
    pub seed: [u8; 32],
    /// When nobody waits any more.
    pub deadline: Deadline,
}

/// A text spoken by a base voice.
#[derive(Debug, Clone)]
pub struct BaseSpeech {
    /// The speech, at 22,050 Hz.
    pub speech: Speech,
    /// The base voice, as [`BaseVoices::name`] names it.
    pub voice: String,
    /// How alike the speech and its target are, in 0..1; `None` when it was not converted.
    pub similarity: Option<f32>,
}

/// All base voices.
pub struct BaseVoiceEngine {
    voices: Arc<BaseVoices>,
    models: PiperModels,
    converter: Option<ToneConverter>,
    /// The front one is next.
    jobs: VecDeque<Job>,
    /// Results that the next step hands out.
    done: Vec<(Ticket, Result<BaseSpeech, BaseVoiceError>)>,
}

/// A request on its way.
struct Job {
    ticket: Ticket,
    language: Language,
    voice: BaseVoice,
    target: Option<SpeakerEmbedding>,
    seed: [u8; 32],
    deadline: Deadline,
    units: Vec<Unit>,
}

struct Unit {
    text: String,
    spoken: Option<Vec<f32>>,
    converted: Option<Vec<f32>>,
}

impl BaseVoiceEngine {
    /// Speaks with these voices. `onnx` is needed where there are Piper voices; without a converter
    /// nothing is converted.
    pub fn new(
        voices: Arc<BaseVoices>,
        onnx: Option<Onnx>,
        threads: usize,
        converter: Option<ToneConverter>,
    ) -> Self {
        Self {
            voices,
            models: PiperModels {
                onnx,
                threads,
                loaded: Vec::new(),
            },
            converter,
            jobs: VecDeque::new(),
            done: Vec::new(),
        }
    }

    fn begin(&self, ticket: Ticket, request: BaseSpeechRequest) -> Result<Job, BaseVoiceError> {
        let language = request.language;
        let voice = self.voices.voice(language);
        let voice = voice.ok_or(BaseVoiceError::UnsupportedLanguage(language))?;
        let units: Vec<Unit> = units(request.text.expose(), language)
            .into_iter()
            .map(|text| Unit {
                text,
                spoken: None,
                converted: None,
            })
            .collect();
        if units.is_empty() {
            return Err(BaseVoiceError::NothingToSpeak);
        }
        Ok(Job {
            ticket,
            language,
            voice,
            target: request.target.filter(|_| self.converter.is_some()),
            seed: request.seed,
            deadline: request.deadline,
            units,
        })
    }

    /// Ends requests whose time is over.
    fn drop_stopped(&mut self) {
        let done = &mut self.done;
        self.jobs.retain(|job| match job.deadline.check() {
            Ok(()) => true,
            Err(stop) => {
                done.push((job.ticket, Err(stop.into())));
                false
            }
        });
    }

    /// Speaks or converts one unit; gives the speech when nothing is left to do.
    fn advance(&mut self, job: &mut Job) -> Result<Option<BaseSpeech>, BaseVoiceError> {
        if let Some(unit) = job.units.iter_mut().find(|unit| unit.spoken.is_none()) {
            let pcm = say(
                &self.voices,
                &mut self.models,
                &job.voice,
                job.language,
                &unit.text,
                &job.deadline,
            )?;
            unit.spoken = Some(pcm);
            return Ok(None);
        }
        if let Some(target) = job.target.clone() {
            match self.convert(job, &target) {
                Ok(None) => return Ok(None),
                Ok(Some(similarity)) => {
                    return Ok(Some(job.speech(&self.voices, Some(similarity))));
                }
                Err(error) if error.stop().is_some() => return Err(error),
                // The words are worth more than the voice.
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::warn!(error, "speech could not be given the sender's voice");
                    job.target = None;
                }
            }
        }
        Ok(Some(job.speech(&self.voices, None)))
    }

    /// Converts one unit; gives the similarity when all are.
    fn convert(
        &mut self,
        job: &mut Job,
        target: &SpeakerEmbedding,
    ) -> Result<Option<f32>, BaseVoiceError> {
        let Some(converter) = &mut self.converter else {
            return Err(BaseVoiceError::BadOutput("there is no converter"));
        };
        let (voices, models) = (&self.voices, &mut self.models);
        let source = converter.source(&voices.name(&job.voice), || {
            let samples = say(
                voices,
                models,
                &job.voice,
                job.language,
                SAMPLE_TEXT,
                &job.deadline,
            )?;
            Ok(Pcm::new(samples, SAMPLE_RATE_HZ))
        })?;
        let next = |(_, unit): &(usize, &mut Unit)| unit.converted.is_none();
        if let Some((number, unit)) = job.units.iter_mut().enumerate().find(next) {
            let spoken = unit.spoken.as_deref().unwrap_or_default();
            let seed = seed_of_unit(&job.seed, number);
            unit.converted = Some(converter.convert(spoken, &source, target, seed)?);
            return Ok(None);
        }
        let converted: Vec<f32> = job
            .units
            .iter()
            .flat_map(|unit| unit.converted.iter().flatten().copied())
            .collect();
        converter.similarity(&converted, target).map(Some)
    }
}

impl Job {
    /// The whole speech, converted where there is a similarity.
    fn speech(&mut self, voices: &BaseVoices, similarity: Option<f32>) -> BaseSpeech {
        let rate = SAMPLE_RATE_HZ as usize;
        let milliseconds = |samples: usize| (samples * 1000 / rate) as u64;
        let mut samples: Vec<f32> = Vec::new();
        let mut parts = Vec::with_capacity(self.units.len());
        for unit in &mut self.units {
            if !samples.is_empty() {
                samples.resize(samples.len() + PAUSE_MS * rate / 1000, 0.0);
            }
            let start = samples.len();
            let said = match similarity {
                Some(_) => unit.converted.take(),
                None => unit.spoken.take(),
            };
            samples.extend(said.unwrap_or_default());
            parts.push(SpokenPart {
                text: std::mem::take(&mut unit.text).into(),
                start_ms: milliseconds(start),
                end_ms: milliseconds(samples.len()),
            });
        }
        BaseSpeech {
            speech: Speech {
                pcm: Pcm::new(samples, SAMPLE_RATE_HZ),
                parts,
            },
            voice: voices.name(&self.voice),
            similarity,
        }
    }
}

impl Engine for BaseVoiceEngine {
    type Request = BaseSpeechRequest;
    type Output = BaseSpeech;
    type Error = BaseVoiceError;

    fn vacancies(&self) -> usize {
        MAX_REQUESTS.saturating_sub(self.jobs.len() + self.done.len())
    }

    fn join(&mut self, ticket: Ticket, request: BaseSpeechRequest) {
        match self.begin(ticket, request) {
            Ok(job) => self.jobs.push_back(job),
            Err(error) => self.done.push((ticket, Err(error))),
        }
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.done.is_empty()
    }

    fn step(&mut self) -> Vec<(Ticket, Result<BaseSpeech, BaseVoiceError>)> {
        self.drop_stopped();
        if let Some(mut job) = self.jobs.pop_front() {
            match self.advance(&mut job) {
                Ok(None) => self.jobs.push_back(job),
                Ok(Some(speech)) => self.done.push((job.ticket, Ok(speech))),
                Err(error) => self.done.push((job.ticket, Err(error))),
            }
        }
        std::mem::take(&mut self.done)
    }
}

/// One unit in a base voice, at 22,050 Hz.
fn say(
    voices: &BaseVoices,
    models: &mut PiperModels,
    voice: &BaseVoice,
    language: Language,
    text: &str,
    deadline: &Deadline,
) -> Result<Vec<f32>, BaseVoiceError> {
    let pcm = match voice {
        BaseVoice::Espeak(name) => voices.espeak().speak(name, text, deadline)?,
        BaseVoice::Piper(number) => {
            let piper = voices.piper().get(*number);
            let piper = piper.ok_or(BaseVoiceError::UnsupportedLanguage(language))?;
            let model = models.get(*number, piper)?;
            let utterances = utterances(voices, piper, language, text, deadline)?;
            let mut samples = Vec::new();
            for ids in utterances {
                deadline.check()?;
                samples.extend_from_slice(model.speak(&ids, piper.scales())?.samples());
            }
            if samples.is_empty() {
                return Err(BaseVoiceError::BadOutput(
                    "the voice knows no phoneme of it",
                ));
            }
            Pcm::new(samples, piper.sample_rate_hz())
        }
    };
    Ok(resample(&pcm, SAMPLE_RATE_HZ)?.samples().to_vec())
}

/// A unit as ids of phonemes; a long one in several utterances.
fn utterances(
    voices: &BaseVoices,
    piper: &PiperVoice,
    language: Language,
    text: &str,
    deadline: &Deadline,
) -> Result<Vec<Vec<i64>>, BaseVoiceError> {
    let mut phonemes = String::new();
    for clause in clauses(text) {
        let spelled = voices
            .espeak()
            .phonemes(piper.espeak_voice(), clause.text, deadline)?;
        append(&mut phonemes, &spelled, clause.mark);
    }
    let ids = ids(&phonemes, piper.ids());
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let characters = text.chars().count();
    if ids.len() <= MAX_IDS || characters < 2 {
        return Ok(vec![ids]);
    }
    let mut parts = Vec::new();
    for piece in pieces(text, language, characters / 2) {
        parts.extend(utterances(voices, piper, language, &piece, deadline)?);
    }
    Ok(parts)
}

/// The Piper voices that are loaded, the one used last at the end.
struct PiperModels {
    onnx: Option<Onnx>,
    threads: usize,
    loaded: Vec<(usize, PiperModel)>,
}

impl PiperModels {
    fn get(
        &mut self,
        number: usize,
        voice: &PiperVoice,
    ) -> Result<&mut PiperModel, BaseVoiceError> {
        let found = self.loaded.iter().position(|(loaded, _)| *loaded == number);
        let model = match (found, &self.onnx) {
            (Some(at), _) => self.loaded.remove(at).1,
            (None, Some(onnx)) => voice.load(onnx, self.threads)?,
            (None, None) => return Err(BaseVoiceError::BadOutput("there is no ONNX Runtime")),
        };
        if self.loaded.len() >= MAX_LOADED_VOICES {
            self.loaded.remove(0);
        }
        let at = self.loaded.len();
        self.loaded.push((number, model));
        Ok(&mut self.loaded[at].1)
    }
}

/// Every unit has noise of its own.
fn seed_of_unit(seed: &[u8; 32], unit: usize) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(seed);
    hasher.update((unit as u64).to_le_bytes());
    hasher.finalize().into()
}
