//! One recording through whisper.cpp.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperError, WhisperState, WhisperSysContext,
    WhisperSysState, WhisperTokenId,
};

use super::error::TranscribeError;
use super::language::{Detection, SpokenLanguage, hint_suffices, overrules};
use super::window::{self, Doubt, Token};
use super::words::{Utterance, assemble};
use super::{SAMPLE_RATE_HZ, TranscribeRequest, WhisperOptions};
use crate::domain::{Deadline, Stop};

/// Samples that Whisper wants at least: it answers nothing below 100 ms, and little below a second.
const MIN_SAMPLES: usize = 16_000;
/// Samples of the window that Whisper hears at a time: 30 s.
const WINDOW_SAMPLES: usize = 30 * SAMPLE_RATE_HZ as usize;
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

/// What one transcription gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    /// Windows that it has encoded.
    encoder_passes: u32,
    /// Why a part of the window was not enough.
    doubt: Option<Doubt>,
}

/// A loaded model with its decoding parameters.
pub(super) struct Recognizer {
    context: Arc<WhisperContext>,
    options: WhisperOptions,
    /// For the recording that is heard.
    threads: usize,
    /// Windows that were encoded for it.
    encoder_passes: u32,
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
            threads: 1,
            encoder_passes: 0,
            last_detected: None,
            params: HashMap::new(),
        }
    }

    /// Finds the language and writes down what is said in it, with `threads` threads.
    pub(super) fn recognize(
        &mut self,
        samples: &[f32],
        request: &TranscribeRequest,
        threads: usize,
    ) -> Result<Recognition, TranscribeError> {
        self.threads = threads;
        self.encoder_passes = 0;
        let samples = prepared(samples);
        let mut state = self.state()?;
        let deadline = &request.deadline;

        let hint = request
            .language_hint
            .and_then(SpokenLanguage::from_language);
        let known = match hint {
            _ if !self.context.is_multilingual() => Some(SpokenLanguage::ENGLISH),
            Some(hint) if hint_suffices(request.declared_duration_ms) => Some(hint),
            _ => None,
        };
        let (spoken, language_probability) = match known {
            Some(spoken) => {
                self.transcribe(&mut state, &samples, spoken, deadline)?;
                (spoken, 1.0)
            }
            None => {
                let fallback = SpokenLanguage::from_language(request.default_language)
                    .unwrap_or(SpokenLanguage::ENGLISH);
                self.detect_and_transcribe(&mut state, &samples, hint, fallback, deadline)?
            }
        };
        Ok(Recognition {
            spoken,
            language_probability,
            utterances: utterances(&state, self.context.token_eot())
                .map_err(TranscribeError::Inference)?,
            encoder_passes: self.encoder_passes,
        })
    }

    /// A state for each recording and guess: whisper.cpp's random numbers and text context live in it, and
    /// a result must not depend on what was transcribed before.
    fn state(&self) -> Result<WhisperState, TranscribeError> {
        self.context.create_state().map_err(TranscribeError::State)
    }

    /// Transcribes into `state` in the language that the sender or the model says, and returns that with its
    /// probability.
    ///
    /// The encoder is most of the work and hears the same in any language, but whisper.cpp runs it anew for each
    /// transcription. So the likely language is tried first, and what the encoder made of that attempt tells the
    /// language: the sender's, or that of the last recording of which nobody said it. A wrong guess costs the decoder's
    /// part once more and changes nothing in the result.
    fn detect_and_transcribe(
        &mut self,
        state: &mut WhisperState,
        samples: &[f32],
        hint: Option<SpokenLanguage>,
        fallback: SpokenLanguage,
        deadline: &Deadline,
    ) -> Result<(SpokenLanguage, f32), TranscribeError> {
        if hint.is_none() && samples.len() > WINDOW_SAMPLES {
            // Only one window of several tells the language; all of them in a wrong one would cost too much.
            state
                .pcm_to_mel(samples, self.threads)
                .map_err(TranscribeError::Inference)?;
            let detection = self.detect(state, false, deadline)?;
            let (spoken, probability) = chosen(detection, hint, fallback);
            self.transcribe(state, samples, spoken, deadline)?;
            return Ok((spoken, probability));
        }
        let guess = hint.or(self.last_detected).unwrap_or(fallback);
        let attempt = self.attempt(state, samples, guess, deadline)?;
        let detection = self.detect(state, attempt.encoder_passes == 1, deadline)?;
        let (spoken, probability) = chosen(detection, hint, fallback);
        if hint.is_none() {
            self.last_detected = Some(spoken);
        }
        if spoken.whisper_code != guess.whisper_code {
            *state = self.state()?;
            self.transcribe(state, samples, spoken, deadline)?;
        } else {
            self.settle(state, samples, spoken, attempt, deadline)?;
        }
        Ok((spoken, probability))
    }

    /// Transcribes into `state`: a recording that fits into a part of a window with that part, unless the
    /// result looks wrong.
    fn transcribe(
        &mut self,
        state: &mut WhisperState,
        samples: &[f32],
        spoken: SpokenLanguage,
        deadline: &Deadline,
    ) -> Result<(), TranscribeError> {
        let attempt = self.attempt(state, samples, spoken, deadline)?;
        self.settle(state, samples, spoken, attempt, deadline)
    }

    /// Transcribes into `state` once: a recording that fits into a part of a window with that part.
    fn attempt(
        &mut self,
        state: &mut WhisperState,
        samples: &[f32],
        spoken: SpokenLanguage,
        deadline: &Deadline,
    ) -> Result<Attempt, TranscribeError> {
        let positions = self.trimmed_positions(samples);
        let mut params = self.params(spoken);
        if let Some(positions) = positions {
            params.set_audio_ctx(positions as i32);
            // What fails here is tried again with the whole window, not with more chance.
            params.set_temperature_inc(0.0);
        }
        let encoder_passes = self.run(state, params, samples, deadline)?;
        let doubt = positions.and_then(|positions| self.doubt(state, positions));
        Ok(Attempt {
            encoder_passes,
            doubt,
        })
    }

    /// Replaces a doubtful result in `state` by that of the whole window.
    fn settle(
        &mut self,
        state: &mut WhisperState,
        samples: &[f32],
        spoken: SpokenLanguage,
        attempt: Attempt,
        deadline: &Deadline,
    ) -> Result<(), TranscribeError> {
        let Some(doubt) = attempt.doubt else {
            return Ok(());
        };
        tracing::info!(?doubt, "a recording is heard again in a full window");
        let params = self.params(spoken);
        self.run(state, params, samples, deadline).map(drop)
    }

    fn run(
        &mut self,
        state: &mut WhisperState,
        params: FullParams<'_, '_>,
        samples: &[f32],
        deadline: &Deadline,
    ) -> Result<u32, TranscribeError> {
        let encoder_passes = run(state, params, samples, deadline)?;
        self.encoder_passes += encoder_passes;
        Ok(encoder_passes)
    }

    fn params(&mut self, spoken: SpokenLanguage) -> FullParams<'static, 'static> {
        let options = self.options;
        let kept = self.params.entry(spoken.whisper_code);
        let mut params = kept.or_insert_with(|| full_params(options, spoken)).clone();
        params.set_n_threads(self.threads as i32);
        params
    }

    /// The encoder positions that are enough for a recording, when they are not all.
    fn trimmed_positions(&self, samples: &[f32]) -> Option<usize> {
        if self.options.full_window {
            return None;
        }
        let window = usize::try_from(self.context.n_audio_ctx()).ok()?;
        window::positions(samples.len(), window)
    }

    /// Looks at what `state` holds after a run over `positions` positions.
    fn doubt(&self, state: &WhisperState, positions: usize) -> Option<Doubt> {
        let mut tokens = Vec::new();
        for segment in state.as_iter() {
            for index in 0..segment.n_tokens() {
                if let Some(token) = segment.get_token(index) {
                    tokens.push(Token {
                        id: token.token_id(),
                        log_probability: token.token_data().plog,
                    });
                }
            }
        }
        let (end_of_text, first_timestamp) = (self.context.token_eot(), self.context.token_beg());
        window::doubt(&tokens, positions, end_of_text, first_timestamp)
    }

    /// Asks the model for the language of the recording whose spectrogram `state` holds.
    ///
    /// Takes a decoder pass of one token, after an encoder pass if need be; these two cannot be
    /// interrupted, so the deadline is looked at between them.
    fn detect(
        &mut self,
        state: &mut WhisperState,
        first_window_is_encoded: bool,
        deadline: &Deadline,
    ) -> Result<Option<Detection>, TranscribeError> {
        let threads = self.threads;
        if !first_window_is_encoded {
            deadline.check()?;
            state
                .encode(0, threads)
                .map_err(TranscribeError::Inference)?;
            self.encoder_passes += 1;
        }
        deadline.check()?;
        state
            .decode(&[self.context.token_sot()], 0, threads)
            .map_err(TranscribeError::Inference)?;
        let logits = state.get_logits().map_err(TranscribeError::Inference)?;
        Ok(Detection::from_logits(logits, self.context.token_lang(0)))
    }
}

/// The language to write, and its probability: the model's where nobody said it, or where it is sure of another.
fn chosen(
    detection: Option<Detection>,
    hint: Option<SpokenLanguage>,
    fallback: SpokenLanguage,
) -> (SpokenLanguage, f32) {
    match (hint, detection) {
        (Some(hint), Some(detection)) if overrules(&detection, hint) => {
            (detection.spoken, detection.probability)
        }
        (Some(hint), _) => (hint, 1.0),
        (None, Some(detection)) => (detection.spoken, detection.probability),
        (None, None) => (fallback, 0.0),
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

/// What whisper.cpp's callbacks see during one run.
struct Watch<'a> {
    deadline: &'a Deadline,
    stopped: Cell<Option<Stop>>,
    encoder_passes: Cell<u32>,
}

/// Runs whisper.cpp until done or stopped. It asks whether to stop after each encoder pass (one for
/// at most 30 s of audio) and after each decoded token.
#[expect(
    unsafe_code,
    reason = "whisper-rs's safe abort callback reads a boxed trait object as the closure's own type"
)]
fn run(
    state: &mut WhisperState,
    mut params: FullParams<'_, '_>,
    samples: &[f32],
    deadline: &Deadline,
) -> Result<u32, TranscribeError> {
    deadline.check()?;
    let watch = Watch {
        deadline,
        stopped: Cell::new(None),
        encoder_passes: Cell::new(0),
    };
    let data: *mut c_void = std::ptr::from_ref(&watch).cast_mut().cast();
    // SAFETY: `watch` outlives `full`, which takes the parameters and is the only one to call back,
    // on this thread; the callbacks only read through the pointer, and they cannot panic.
    unsafe {
        params.set_abort_callback(Some(should_stop));
        params.set_abort_callback_user_data(data);
        params.set_start_encoder_callback(Some(count_encoder_pass));
        params.set_start_encoder_callback_user_data(data);
    }
    let result = state.full(params, samples);
    if let Some(stop) = watch.stopped.get() {
        return Err(stop.into());
    }
    result.map_err(TranscribeError::Inference)?;
    Ok(watch.encoder_passes.get())
}

#[expect(unsafe_code, reason = "a callback of whisper.cpp; see `run`")]
unsafe extern "C" fn should_stop(data: *mut c_void) -> bool {
    // SAFETY: `run` passes a pointer to its `Watch`.
    let watch = unsafe { &*data.cast::<Watch<'_>>() };
    watch.stopped.set(watch.deadline.check().err());
    watch.stopped.get().is_some()
}

#[expect(unsafe_code, reason = "a callback of whisper.cpp; see `run`")]
unsafe extern "C" fn count_encoder_pass(
    _context: *mut WhisperSysContext,
    _state: *mut WhisperSysState,
    data: *mut c_void,
) -> bool {
    // SAFETY: `run` passes a pointer to its `Watch`.
    let watch = unsafe { &*data.cast::<Watch<'_>>() };
    watch.encoder_passes.set(watch.encoder_passes.get() + 1);
    true
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
mod tests {
    use whisper_rs::WhisperContextParameters;

    use super::super::scripted::scripted_model;
    use super::super::words::join;
    use super::*;
    use crate::domain::{Language, Pcm};

    fn recognizer(model: &std::path::Path, options: WhisperOptions) -> Recognizer {
        let parameters = WhisperContextParameters::new();
        let context = WhisperContext::new_with_params(model, parameters).unwrap();
        Recognizer::new(Arc::new(context), options)
    }

    fn sound(seconds: usize) -> Vec<f32> {
        let samples = 0..seconds * SAMPLE_RATE_HZ as usize;
        samples.map(|i| (i as f32 * 0.4).sin()).collect()
    }

    /// Transcribes two seconds of sound with a model that says `words` from 0 to `end_ms`.
    fn heard(words: &[&str], end_ms: usize, full_window: bool) -> (Attempt, String) {
        let model = scripted_model(words, end_ms, None);
        let options = WhisperOptions {
            full_window,
            ..WhisperOptions::default()
        };
        let mut recognizer = recognizer(model.path(), options);
        let (mut state, samples) = (recognizer.state().unwrap(), sound(2));
        let (spoken, deadline) = (SpokenLanguage::ENGLISH, Deadline::none());
        let attempt = recognizer
            .attempt(&mut state, &samples, spoken, &deadline)
            .unwrap();
        recognizer
            .settle(&mut state, &samples, spoken, attempt, &deadline)
            .unwrap();
        let said = utterances(&state, recognizer.context.token_eot()).unwrap();
        (
            attempt,
            join(said.iter().flat_map(|utterance| &utterance.words)),
        )
    }

    #[test]
    fn a_part_of_the_window_is_enough_where_the_result_is_sound() {
        let expected = Attempt {
            encoder_passes: 1,
            doubt: None,
        };
        let said = [" hello", " world", "."];
        let trimmed = heard(&said, 1000, false);
        assert_eq!(trimmed, (expected, "hello world.".to_owned()));
        assert_eq!(heard(&said, 1000, true), trimmed);
    }

    #[test]
    fn a_doubtful_result_is_replaced_by_that_of_the_full_window() {
        // Two seconds have 240 positions, and second 8 is position 400.
        let (outside, text) = heard(&[" hello"], 8000, false);
        assert_eq!(outside.doubt, Some(Doubt::TimeOutside));
        assert_eq!(text, "hello");
        // The model has no words to say.
        let (silent, text) = heard(&[], 1000, false);
        assert_eq!(silent.doubt, Some(Doubt::NoText));
        assert_eq!(text, heard(&[], 1000, true).1);
        assert_eq!(heard(&[" hello"], 8000, true).0.doubt, None);
    }

    #[test]
    fn a_language_heard_before_is_tried_first_and_changes_nothing_else() {
        let model = scripted_model(&[" hola", "."], 1000, Some(3));
        for beam_size in [1, 3] {
            let options = WhisperOptions {
                beam_size,
                ..WhisperOptions::default()
            };
            let mut recognizer = recognizer(model.path(), options);
            let mut heard = |seconds, hint| {
                let request = TranscribeRequest {
                    pcm: Pcm::new(Vec::new(), SAMPLE_RATE_HZ),
                    language_hint: hint,
                    declared_duration_ms: None,
                    default_language: Language::FRENCH,
                    deadline: Deadline::none(),
                };
                let heard = recognizer.recognize(&sound(seconds), &request, 1).unwrap();
                let words = heard.utterances.iter().flat_map(|said| &said.words);
                let result = (heard.spoken, heard.language_probability, join(words));
                (heard.encoder_passes, result)
            };
            let (passes, spanish) = heard(8, None);
            assert_eq!(passes, 2, "French, the default, then Spanish");
            assert_eq!(
                (spanish.0.whisper_code, spanish.2.as_str()),
                ("es", "hola.")
            );
            assert_eq!(heard(8, None), (1, spanish.clone()));
            assert_eq!(heard(8, Language::parse("es")).0, 1);
            assert_eq!(heard(8, Some(Language::FRENCH)), (2, spanish.clone()));
            assert_eq!(heard(8, None), (1, spanish), "hints are not guesses");
            // Two windows: the first once more, for the language.
            assert_eq!(heard(40, None).0, 3);
        }
    }
}
