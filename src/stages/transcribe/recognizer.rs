//! One recording through whisper.cpp.

use std::collections::HashMap;
use std::sync::Arc;

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperError, WhisperState, WhisperTokenId,
};

use super::error::TranscribeError;
use super::language::{Rule, SpokenLanguage};
use super::watch::Watch;
use super::window::{self, Doubt, Token};
use super::words::{Utterance, assemble};
use super::{TranscribeRequest, WhisperOptions};
use crate::domain::Deadline;

/// Samples that Whisper wants at least: it answers nothing below 100 ms, and little below a second.
const MIN_SAMPLES: usize = 16_000;
/// Step between the temperatures 0, 0.4 and 0.8 at which a window is tried again after a failure.
/// Whisper's own step of 0.2 costs up to six passes over noise.
const TEMPERATURE_STEP: f32 = 0.4;

/// What was said, before guards.
pub(super) struct Recognition {
    pub(super) spoken: SpokenLanguage,
    /// Probability of the language, 0..1; 1 where the sender's word or the model decides it.
    pub(super) language_probability: f32,
    pub(super) utterances: Vec<Utterance>,
    /// Windows that were encoded for it, at most 30 s of audio each.
    pub(super) encoder_passes: u32,
}

/// A loaded model with its decoding parameters.
pub(super) struct Recognizer {
    context: Arc<WhisperContext>,
    options: WhisperOptions,
    /// The language of the last recording of which nobody said it.
    last_detected: Option<SpokenLanguage>,
    /// By Whisper's language code, kept because whisper-rs leaks a copy of the code at each
    /// `set_language`.
    params: HashMap<&'static str, FullParams<'static, 'static>>,
}

impl Recognizer {
    pub(super) fn new(context: Arc<WhisperContext>, options: WhisperOptions) -> Self {
        Self {
            context,
            options,
            last_detected: None,
            params: HashMap::new(),
        }
    }

    /// Finds the language and writes down what is said in it, with `threads` threads.
    ///
    /// The encoder is most of the work and hears the same in any language, but whisper.cpp runs it anew for each
    /// transcription. So one is begun in the likely language: the sender's, or that of the last recording of which
    /// nobody said it. Where the model then hears another, it begins again; the result does not depend on the guess.
    pub(super) fn recognize(
        &mut self,
        samples: &[f32],
        request: &TranscribeRequest,
        threads: usize,
    ) -> Result<Recognition, TranscribeError> {
        let samples = prepared(samples);
        let rule = match self.context.is_multilingual() {
            true => Rule::of(request),
            false => Rule::Known(SpokenLanguage::ENGLISH),
        };
        let mut hearing = Hearing {
            // A state for each recording: whisper.cpp's random numbers and text context live in it, and
            // a result must not depend on what was transcribed before.
            state: self
                .context
                .create_state()
                .map_err(TranscribeError::State)?,
            samples: &samples,
            threads,
            deadline: &request.deadline,
            rule,
            spoken: rule.guess(self.last_detected),
            language_probability: 1.0,
            encoder_passes: 0,
            recognizer: self,
        };
        hearing.transcribe()?;
        let recognition = hearing.recognition()?;
        if let Rule::Open { .. } = rule {
            self.last_detected = Some(recognition.spoken);
        }
        Ok(recognition)
    }

    fn params(&mut self, spoken: SpokenLanguage) -> FullParams<'static, 'static> {
        let options = self.options;
        let kept = self.params.entry(spoken.whisper_code);
        kept.or_insert_with(|| full_params(options, spoken)).clone()
    }
}

/// A recording on its way through the model.
struct Hearing<'a> {
    recognizer: &'a mut Recognizer,
    state: WhisperState,
    samples: &'a [f32],
    threads: usize,
    deadline: &'a Deadline,
    rule: Rule,
    /// The language that is written; a guess until the model was asked.
    spoken: SpokenLanguage,
    language_probability: f32,
    encoder_passes: u32,
}

impl Hearing<'_> {
    /// Transcribes a recording that fits into a part of a window with that part, unless the result looks wrong.
    fn transcribe(&mut self) -> Result<(), TranscribeError> {
        let positions = self.trimmed_positions();
        self.run(positions)?;
        if let Some(doubt) = positions.and_then(|positions| self.doubt(positions)) {
            tracing::info!(?doubt, "a recording is heard again in a full window");
            self.run(None)?;
        }
        Ok(())
    }

    /// The encoder positions that are enough for the recording, when they are not all.
    fn trimmed_positions(&self) -> Option<usize> {
        if self.recognizer.options.full_window {
            return None;
        }
        let window = usize::try_from(self.recognizer.context.n_audio_ctx()).ok()?;
        window::positions(self.samples.len(), window)
    }

    /// Transcribes with that many positions, or with all; once more where the model hears another language than the
    /// one that was tried.
    fn run(&mut self, positions: Option<usize>) -> Result<(), TranscribeError> {
        let tried = self.spoken;
        let chosen = self.run_in_one_language(positions, self.rule)?;
        // Where nothing was encoded, nothing was asked.
        let Some(chosen) = chosen.or_else(|| self.rule.choose(None)) else {
            return Ok(());
        };
        (self.spoken, self.language_probability) = chosen;
        if self.spoken.whisper_code != tried.whisper_code {
            self.run_in_one_language(positions, Rule::Known(self.spoken))?;
        }
        Ok(())
    }

    fn run_in_one_language(
        &mut self,
        positions: Option<usize>,
        rule: Rule,
    ) -> Result<Option<(SpokenLanguage, f32)>, TranscribeError> {
        self.deadline.check()?;
        let mut params = self.recognizer.params(self.spoken);
        params.set_n_threads(self.threads as i32);
        if let Some(positions) = positions {
            params.set_audio_ctx(positions as i32);
            // What fails here is tried again with the whole window, not with more chance.
            params.set_temperature_inc(0.0);
        }
        let watch = Watch::new(self.deadline, rule, self.spoken, self.threads);
        let run = watch.run(&mut self.state, params, self.samples)?;
        self.encoder_passes += run.encoder_passes;
        Ok(run.chosen)
    }

    /// Looks at what the state holds after a run over `positions` positions.
    fn doubt(&self, positions: usize) -> Option<Doubt> {
        let context = &self.recognizer.context;
        let mut tokens = Vec::new();
        for segment in self.state.as_iter() {
            for index in 0..segment.n_tokens() {
                if let Some(token) = segment.get_token(index) {
                    tokens.push(Token {
                        id: token.token_id(),
                        log_probability: token.token_data().plog,
                    });
                }
            }
        }
        window::doubt(&tokens, positions, context.token_eot(), context.token_beg())
    }

    fn recognition(&self) -> Result<Recognition, TranscribeError> {
        let end_of_text = self.recognizer.context.token_eot();
        Ok(Recognition {
            spoken: self.spoken,
            language_probability: self.language_probability,
            utterances: utterances(&self.state, end_of_text).map_err(TranscribeError::Inference)?,
            encoder_passes: self.encoder_passes,
        })
    }
}

/// At least a second of finite samples; borrowed where nothing has to change.
fn prepared(samples: &[f32]) -> std::borrow::Cow<'_, [f32]> {
    if samples.len() >= MIN_SAMPLES && samples.iter().all(|x| x.is_finite()) {
        return samples.into();
    }
    let mut prepared: Vec<f32> = samples
        .iter()
        .map(|x| if x.is_finite() { *x } else { 0.0 })
        .collect();
    prepared.resize(prepared.len().max(MIN_SAMPLES), 0.0);
    prepared.into()
}

fn full_params(options: WhisperOptions, spoken: SpokenLanguage) -> FullParams<'static, 'static> {
    let strategy = match options.beam_size() {
        1 => SamplingStrategy::Greedy { best_of: 1 },
        beam_size => SamplingStrategy::BeamSearch {
            beam_size,
            patience: -1.0,
        },
    };
    let mut params = FullParams::new(strategy);
    params.set_language(Some(spoken.whisper_code));
    // Neither an earlier recording nor an earlier window is a prompt: a slip would be repeated.
    params.set_no_context(true);
    params.set_n_max_text_ctx(0);
    params.set_temperature(0.0);
    params.set_temperature_inc(TEMPERATURE_STEP);
    params.set_suppress_nst(true);
    params.set_print_special(false);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_timestamps(false);
    params
}

/// Reads the result out of `state`; times may lie outside the recording.
fn utterances(
    state: &WhisperState,
    end_of_text: WhisperTokenId,
) -> Result<Vec<Utterance>, WhisperError> {
    let mut utterances = Vec::new();
    for segment in state.as_iter() {
        let mut tokens = Vec::new();
        for index in 0..segment.n_tokens() {
            // Above the text are marks and timestamps.
            if let Some(token) = segment.get_token(index)
                && token.token_id() < end_of_text
            {
                tokens.push((token.to_bytes()?, token.token_probability()));
            }
        }
        utterances.push(Utterance {
            words: assemble(tokens),
            start_ms: milliseconds(segment.start_timestamp()),
            end_ms: milliseconds(segment.end_timestamp()),
            no_speech_probability: segment.no_speech_probability(),
        });
    }
    Ok(utterances)
}

/// whisper.cpp counts time in hundredths of a second.
fn milliseconds(centiseconds: i64) -> u64 {
    u64::try_from(centiseconds).unwrap_or(0).saturating_mul(10)
}

#[cfg(test)]
mod tests;
