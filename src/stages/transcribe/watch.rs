//! What whisper.cpp is asked, and asks, while it transcribes: whether to stop, and which language it hears.

use std::cell::Cell;
use std::ffi::c_void;

use tracing::dispatcher::{DefaultGuard, Dispatch, set_default};
use whisper_rs::{
    FullParams, WhisperError, WhisperState, WhisperSysContext, WhisperSysState, whisper_rs_sys,
};

use super::error::TranscribeError;
use super::language::{Detection, Rule, SpokenLanguage};
use crate::domain::{Deadline, Stop};

/// What one run gave.
pub(super) struct Run {
    /// Windows that it has encoded.
    pub(super) encoder_passes: u32,
    /// The language to write and its probability, where the rule leaves that to the model. If it is another than was
    /// written, nothing was.
    pub(super) chosen: Option<(SpokenLanguage, f32)>,
}

/// What whisper.cpp's callbacks see during one run.
pub(super) struct Watch<'a> {
    deadline: &'a Deadline,
    rule: Rule,
    /// The language that is written.
    written: SpokenLanguage,
    threads: i32,
    stopped: Cell<Option<Stop>>,
    encoder_passes: Cell<u32>,
    /// The model and the state of the run, from the beginning of a window until the model was asked about it.
    model: Cell<Option<(*mut WhisperSysContext, *mut WhisperSysState)>>,
    has_failed: Cell<bool>,
    /// What the rule chooses by what the model said.
    chosen: Cell<Option<(SpokenLanguage, f32)>>,
    /// whisper.cpp logs an error where it is told to stop: nothing is heard of it from then on.
    silence: Cell<Option<DefaultGuard>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        deadline: &'a Deadline,
        rule: Rule,
        written: SpokenLanguage,
        threads: usize,
    ) -> Self {
        Self {
            deadline,
            rule,
            written,
            threads: threads as i32,
            stopped: Cell::new(None),
            encoder_passes: Cell::new(0),
            model: Cell::new(None),
            has_failed: Cell::new(false),
            chosen: Cell::new(None),
            silence: Cell::new(None),
        }
    }

    /// Transcribes `samples` into `state`, unless stopped.
    ///
    /// whisper.cpp asks whether to stop after each encoder pass (one for at most 30 s of audio) and after each decoded
    /// token.
    #[expect(
        unsafe_code,
        reason = "whisper-rs's safe abort callback reads a boxed trait object as the closure's own type"
    )]
    pub(super) fn run(
        self,
        state: &mut WhisperState,
        mut params: FullParams<'_, '_>,
        samples: &[f32],
    ) -> Result<Run, TranscribeError> {
        let data: *mut c_void = std::ptr::from_ref(&self).cast_mut().cast();
        // SAFETY: `self` outlives `full`, which takes the parameters and is the only one to call back,
        // on this thread; the callbacks share `self`, and they cannot panic.
        unsafe {
            params.set_abort_callback(Some(should_stop));
            params.set_abort_callback_user_data(data);
            params.set_start_encoder_callback(Some(encoder_starts));
            params.set_start_encoder_callback_user_data(data);
        }
        let result = state.full(params, samples);
        if let Some(stop) = self.stopped.get() {
            return Err(stop.into());
        }
        if self.has_failed.get() {
            return Err(TranscribeError::Inference(WhisperError::FailedToDecode));
        }
        if !self.has_another_language() {
            result.map_err(TranscribeError::Inference)?;
        }
        Ok(Run {
            encoder_passes: self.encoder_passes.get(),
            chosen: self.chosen.get(),
        })
    }

    /// True when the rule has chosen another language than is written.
    fn has_another_language(&self) -> bool {
        let chosen = self.chosen.get();
        chosen.is_some_and(|(spoken, _)| spoken.whisper_code != self.written.whisper_code)
    }

    /// True when the time is over, when the model fails, and after the first window when its language is another one.
    fn should_stop(&self) -> bool {
        self.stopped.set(self.deadline.check().err());
        if self.stopped.get().is_some() {
            return true;
        }
        let Some((context, state)) = self.model.take() else {
            return false;
        };
        let Some(detection) = self.begin_to_decode(context, state) else {
            self.has_failed.set(true);
            return true;
        };
        if self.encoder_passes.get() == 1 {
            self.chosen.set(self.rule.choose(detection));
        }
        self.has_another_language()
    }

    /// Lets the model decode the start token of the window that it has just encoded, and gives back what it says of the
    /// language; `None` where whisper.cpp fails.
    ///
    /// It is done for each window: whisper.cpp takes the probability that nobody speaks from the first of the logits that
    /// are there when it has decoded its prompt of several tokens, but computes those of the last token only. So it finds
    /// these, which are the right ones (the reference implementation takes them there too).
    #[expect(unsafe_code, reason = "whisper-rs has the state borrowed for the run")]
    fn begin_to_decode(
        &self,
        context: *mut WhisperSysContext,
        state: *mut WhisperSysState,
    ) -> Option<Option<Detection>> {
        // SAFETY: whisper.cpp has passed both pointers in this run. It asks on the thread of the run, after a whole graph was
        // computed, and touches neither until the answer. Then it empties the decoder's cache and makes its batch anew. The
        // logits are those of one token.
        unsafe {
            let start = whisper_rs_sys::whisper_token_sot(context);
            let past = 0;
            let failed = whisper_rs_sys::whisper_decode_with_state(
                context,
                state,
                &raw const start,
                1,
                past,
                self.threads,
            );
            let logits = whisper_rs_sys::whisper_get_logits_from_state(state);
            let vocabulary = whisper_rs_sys::whisper_n_vocab(context);
            if failed != 0 || logits.is_null() {
                return None;
            }
            let logits = std::slice::from_raw_parts(logits, vocabulary as usize);
            let first_language = whisper_rs_sys::whisper_token_lang(context, 0);
            Some(Detection::from_logits(logits, first_language))
        }
    }
}

#[expect(unsafe_code, reason = "a callback of whisper.cpp; see `Watch::run`")]
unsafe extern "C" fn should_stop(data: *mut c_void) -> bool {
    // SAFETY: `Watch::run` passes a pointer to the watch.
    let watch = unsafe { &*data.cast::<Watch<'_>>() };
    let stops = watch.should_stop();
    if stops {
        // An earlier guard has to go first, or it would give back the wrong log.
        drop(watch.silence.take());
        watch.silence.set(Some(set_default(&Dispatch::none())));
    }
    stops
}

#[expect(unsafe_code, reason = "a callback of whisper.cpp; see `Watch::run`")]
unsafe extern "C" fn encoder_starts(
    context: *mut WhisperSysContext,
    state: *mut WhisperSysState,
    data: *mut c_void,
) -> bool {
    // SAFETY: `Watch::run` passes a pointer to the watch.
    let watch = unsafe { &*data.cast::<Watch<'_>>() };
    watch.encoder_passes.set(watch.encoder_passes.get() + 1);
    watch.model.set(Some((context, state)));
    true
}
