//! One recording on its way to a transcript.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::activity::{Activity, Cut};
use super::guards::Evidence;
use super::recognizer::{Recognition, Recognizer};
use super::words::{Utterance, Word};
use super::{
    Recording, SAMPLE_RATE_HZ, SileroVad, TranscribeError, TranscribeRequest, Transcribed, energy,
    guards, phrases, words,
};
use crate::domain::{Deadline, Language, Pcm, Segment, Transcript, TranscriptSource};

/// Hears one recording after the other.
pub(super) struct Listener {
    recognizer: Recognizer,
    vad: Option<SileroVad>,
    /// The name that transcripts carry, such as `large-v3`.
    model_name: Arc<str>,
}

impl Listener {
    pub(super) fn new(
        recognizer: Recognizer,
        vad: Option<SileroVad>,
        model_name: Arc<str>,
    ) -> Self {
        Self {
            recognizer,
            vad,
            model_name,
        }
    }

    /// Transcribes recordings, as one of several threads does. A panic fails its recording only: nothing of one shows
    /// in the next, and others may be heard beside it.
    pub(super) fn into_worker(mut self) -> impl FnMut(Recording) -> Transcribed {
        move |recording| {
            let work = || self.transcribe(&recording.request, recording.threads);
            let transcript = catch_unwind(AssertUnwindSafe(work));
            Transcribed {
                ticket: recording.ticket,
                transcript: transcript.unwrap_or(Err(TranscribeError::Panicked)),
                threads: recording.threads,
            }
        }
    }

    fn transcribe(
        &mut self,
        request: &TranscribeRequest,
        threads: usize,
    ) -> Result<Transcript, TranscribeError> {
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
        let mut recognition = self.recognizer.recognize(&cut.samples, request, threads)?;
        tracing::debug!(recognition.encoder_passes, "a recording was heard");
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
            model: Some(self.model_name.to_string()),
            segments,
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
