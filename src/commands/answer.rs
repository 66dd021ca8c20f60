//! Events as people read them, and the files they bring.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CommandError, human_bytes};
use crate::domain::Language;

/// Characters of a text that are shown.
const SHOWN_CHARACTERS: usize = 300;

/// The events that answer a voice message or a text, as far as a person wants to know them.
#[derive(Deserialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
enum Event {
    TranscriptionReady {
        transcription: Transcription,
    },
    #[serde(
        alias = "audio_translations_progressive",
        alias = "audio_translations_completed"
    )]
    AudioTranslationReady {
        translated_audio: TranslatedAudio,
    },
    AudioProcessCompleted {
        transcription: Transcription,
        translated_audios: Vec<TranslatedAudio>,
        processing_time_ms: u64,
        #[serde(default)]
        binary_frames: HashMap<String, FrameDescriptor>,
    },
    AudioProcessError(Failure),
    TranslationCompleted {
        target_language: Language,
        result: TextResult,
    },
    TranslationError(Failure),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transcription {
    text: String,
    language: Language,
    confidence: f64,
    source: String,
    duration_ms: u64,
    model: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TranslatedAudio {
    target_language: Language,
    translated_text: String,
    duration_ms: u64,
    voice_cloned: bool,
    voice_quality: f64,
    #[serde(default)]
    tts_model: Option<String>,
}

#[derive(Deserialize)]
struct FrameDescriptor {
    index: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TextResult {
    translated_text: String,
    source_language: Language,
    processing_time: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    error: String,
    error_code: Option<String>,
    reason: Option<String>,
    stage: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.error))?;
        let details = [&self.error_code, &self.reason, &self.stage];
        let details: Vec<String> = details
            .into_iter()
            .flatten()
            .map(|word| printable(word))
            .collect();
        if details.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", details.join(", "))
    }
}

/// One event in words.
pub(super) struct Note {
    kind: String,
    facts: String,
    quote: Option<String>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<31} {}", self.kind, self.facts)?;
        match &self.quote {
            Some(quote) => write!(f, "\n{:>11}\u{201c}{quote}\u{201d}", ""),
            None => Ok(()),
        }
    }
}

/// How far an answer is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// More is to come.
    Open,
    /// All is there but the reason why nothing was spoken, which follows at once.
    Ending(String),
    /// Everything that was asked for is there.
    Complete,
    /// The last event is there, and something is missing.
    Failed(String),
}

/// A language of the answer.
pub(super) struct Translated {
    pub(super) text: String,
    pub(super) speech: Option<Speech>,
}

/// The spoken form of a language.
pub(super) struct Speech {
    pub(super) duration_ms: u64,
    pub(super) is_cloned: bool,
    pub(super) file: PathBuf,
}

/// The events of one request, put together; speech is written to files as it arrives.
pub(super) struct Answer {
    message_id: String,
    targets: Vec<Language>,
    directory: PathBuf,
    stem: String,
    seen: HashSet<String>,
    state: State,
    transcription: Option<Value>,
    translated: BTreeMap<Language, Translated>,
}

impl Answer {
    /// Waits for the events of `message_id`; speech goes to `<directory>/<stem>.<language>.mp3`.
    pub(super) fn to(message_id: &str, targets: &[Language], directory: &Path, stem: &str) -> Self {
        Self {
            message_id: message_id.to_owned(),
            targets: targets.to_vec(),
            directory: directory.to_owned(),
            stem: stem.to_owned(),
            seen: HashSet::new(),
            state: State::Open,
            transcription: None,
            translated: BTreeMap::new(),
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The languages that have come so far.
    pub(super) fn translated(&self) -> &BTreeMap<Language, Translated> {
        &self.translated
    }

    /// The transcript's text, once it is there.
    pub(super) fn transcript(&self) -> Option<String> {
        let text = self.transcription.as_ref()?.get("text")?.as_str()?;
        Some(printable(text))
    }

    /// Takes a message; `None` for what belongs to other requests or came before.
    pub(super) fn take(&mut self, frames: &[Bytes]) -> Result<Option<Note>, CommandError> {
        let Some(value) = frames
            .first()
            .and_then(|json| serde_json::from_slice::<Value>(json).ok())
        else {
            return Ok(None);
        };
        let text_at = |pointer| value.pointer(pointer).and_then(Value::as_str);
        if text_at("/messageId").or_else(|| text_at("/result/messageId")) != Some(&self.message_id)
        {
            return Ok(None);
        }
        let kind = printable(text_at("/type").unwrap_or_default());
        // An event is published again when another subscriber comes.
        let language = text_at("/language").or_else(|| text_at("/targetLanguage"));
        if !self
            .seen
            .insert(format!("{kind} {}", language.unwrap_or_default()))
        {
            return Ok(None);
        }
        let event = Event::deserialize(&value)
            .map_err(|error| CommandError::BadEvent(format!("{kind}: {error}")))?;
        let (facts, quote) = match event {
            Event::TranscriptionReady { transcription } => {
                let words = describe(&transcription);
                self.transcription = value.get("transcription").cloned();
                (words, Some(transcription.text))
            }
            Event::AudioTranslationReady { translated_audio } => {
                let audio = frames.get(1).cloned().unwrap_or_default();
                let text = translated_audio.translated_text.clone();
                (self.keep(translated_audio, &audio)?, Some(text))
            }
            Event::AudioProcessCompleted {
                transcription,
                translated_audios,
                processing_time_ms,
                binary_frames,
            } => {
                self.transcription = value.get("transcription").cloned();
                for audio in translated_audios {
                    let name = format!("audio_{}", audio.target_language);
                    let frame = binary_frames
                        .get(&name)
                        .and_then(|frame| frames.get(frame.index));
                    // Most have come before, each in its own event.
                    if let Some(bytes) =
                        frame.filter(|_| !self.translated.contains_key(&audio.target_language))
                    {
                        self.keep(audio, bytes)?;
                    }
                }
                self.state = self.at_completion(&transcription);
                let languages = self.translated.len();
                (
                    format!(
                        "{languages} spoken, {} in the daemon",
                        seconds(processing_time_ms)
                    ),
                    None,
                )
            }
            Event::TranslationCompleted {
                target_language,
                result,
            } => {
                let facts = format!(
                    "{} to {target_language}, {:.2} s in the daemon",
                    result.source_language, result.processing_time
                );
                let text = result.translated_text.clone();
                let translated = Translated {
                    text: result.translated_text,
                    speech: None,
                };
                self.translated.insert(target_language, translated);
                if self.missing(None).is_empty() {
                    self.state = State::Complete;
                }
                (facts, Some(text))
            }
            Event::AudioProcessError(failure) | Event::TranslationError(failure) => {
                self.state = State::Failed(failure.to_string());
                (failure.to_string(), None)
            }
            Event::Other => (String::new(), None),
        };
        Ok(Some(Note {
            kind,
            facts,
            quote: quote.map(|text| printable(&text)),
        }))
    }

    fn at_completion(&self, transcription: &Transcription) -> State {
        let missing = self.missing(Some(transcription.language));
        if missing.is_empty() {
            State::Complete
        } else if transcription.text.trim().is_empty() {
            State::Failed("no speech was recognised in the recording".to_owned())
        } else if self.translated.is_empty() {
            State::Ending(format!("nothing was spoken in {}", missing.join(", ")))
        } else {
            State::Failed(format!("nothing was spoken in {}", missing.join(", ")))
        }
    }

    /// Languages that were asked for and have not come; nothing is translated into its own language.
    fn missing(&self, source: Option<Language>) -> Vec<&str> {
        self.targets
            .iter()
            .filter(|target| Some(**target) != source && !self.translated.contains_key(target))
            .map(Language::as_str)
            .collect()
    }

    /// Writes the speech of one language.
    fn keep(&mut self, spoken: TranslatedAudio, audio: &Bytes) -> Result<String, CommandError> {
        let language = spoken.target_language;
        if audio.is_empty() {
            return Err(CommandError::BadEvent(format!(
                "speech in {language} came without audio"
            )));
        }
        let file = self.write(&format!("{language}.mp3"), audio)?;
        let facts = format!(
            "{language}, {} of speech, {}, {} \u{2192} {}",
            seconds(spoken.duration_ms),
            human_bytes(audio.len() as u64),
            voice(&spoken),
            file.display(),
        );
        let speech = Speech {
            duration_ms: spoken.duration_ms,
            is_cloned: spoken.voice_cloned,
            file,
        };
        let translated = Translated {
            text: spoken.translated_text,
            speech: Some(speech),
        };
        self.translated.insert(language, translated);
        Ok(facts)
    }

    /// Writes the transcript and the translations as JSON and returns the files; none without a
    /// transcript.
    pub(super) fn write_texts(&self) -> Result<Vec<PathBuf>, CommandError> {
        let Some(transcript) = &self.transcription else {
            return Ok(Vec::new());
        };
        let translations: serde_json::Map<String, Value> = self
            .translated
            .iter()
            .map(|(language, translated)| {
                let speech = translated.speech.as_ref();
                let entry = json!({
                    "text": translated.text,
                    "durationMs": speech.map(|speech| speech.duration_ms),
                    "file": speech.map(|speech| speech.file.display().to_string()),
                });
                (language.to_string(), entry)
            })
            .collect();
        Ok(vec![
            self.write("transcript.json", &pretty(transcript))?,
            self.write("translations.json", &pretty(&translations.into()))?,
        ])
    }

    fn write(&self, suffix: &str, content: &[u8]) -> Result<PathBuf, CommandError> {
        std::fs::create_dir_all(&self.directory)
            .map_err(|source| CommandError::path(&self.directory, source))?;
        let path = self.directory.join(format!("{}.{suffix}", self.stem));
        std::fs::write(&path, content).map_err(|source| CommandError::path(&path, source))?;
        Ok(path)
    }
}

fn describe(transcription: &Transcription) -> String {
    let model = transcription.model.as_deref().unwrap_or("unnamed");
    format!(
        "{}, {} of audio, confidence {:.2}, by {} ({})",
        transcription.language,
        seconds(transcription.duration_ms),
        transcription.confidence,
        printable(&transcription.source),
        printable(model),
    )
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn voice(spoken: &TranslatedAudio) -> String {
    let voice = if spoken.voice_cloned {
        format!("cloned voice of quality {:.2}", spoken.voice_quality)
    } else {
        "default voice".to_owned()
    };
    match &spoken.tts_model {
        Some(model) => format!("{voice} by {}", printable(model)),
        None => voice,
    }
}

pub(super) fn seconds(duration_ms: u64) -> String {
    format!("{:.2} s", duration_ms as f64 / 1000.0)
}

/// A peer's text on one line of a terminal: without control characters, and not without end.
pub(super) fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARACTERS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(code: &str) -> Language {
        Language::parse(code).unwrap()
    }

    fn message(json: Value, audio: &'static [u8]) -> Vec<Bytes> {
        let mut frames = vec![Bytes::from(json.to_string())];
        if !audio.is_empty() {
            frames.push(Bytes::from_static(audio));
        }
        frames
    }

    fn transcription(text: &str) -> Value {
        json!({"text": text, "language": "en", "confidence": 0.9, "source": "whisper", "durationMs": 1500})
    }

    fn spoken(code: &str) -> Value {
        json!({
            "targetLanguage": code, "translatedText": "bonjour", "audioUrl": "", "audioPath": "",
            "durationMs": 800, "voiceCloned": true, "voiceQuality": 0.8, "segments": [],
        })
    }

    fn translated(id: &str, code: &str) -> Vec<Bytes> {
        let event = json!({
            "type": "audio_translations_progressive", "taskId": "t", "messageId": id,
            "language": code, "translatedAudio": spoken(code), "timestamp": 1.0,
        });
        message(event, b"mp3 bytes")
    }

    fn completed(text: &str, languages: &[&str]) -> Vec<Bytes> {
        let audios: Vec<Value> = languages.iter().map(|code| spoken(code)).collect();
        let frames: serde_json::Map<String, Value> = languages
            .iter()
            .map(|code| {
                (
                    format!("audio_{code}"),
                    json!({"index": 1, "size": 9, "mimeType": "audio/mp3"}),
                )
            })
            .collect();
        let event = json!({
            "type": "audio_process_completed", "messageId": "m", "transcription": transcription(text),
            "translatedAudios": audios, "processingTimeMs": 2000, "binaryFrames": frames,
        });
        message(event, b"mp3 bytes")
    }

    fn answer(directory: &Path) -> Answer {
        Answer::to(
            "m",
            &[language("fr"), language("es"), language("en")],
            directory,
            "note",
        )
    }

    #[test]
    fn a_job_is_complete_when_every_foreign_language_has_come() {
        let directory = tempfile::tempdir().unwrap();
        let mut answer = answer(directory.path());
        assert!(answer.take(&translated("other", "fr")).unwrap().is_none());
        let note = answer.take(&translated("m", "fr")).unwrap().unwrap();
        assert!(note.to_string().contains("bonjour"), "{note}");
        assert!(
            answer.take(&translated("m", "fr")).unwrap().is_none(),
            "a repeat"
        );
        assert_eq!(*answer.state(), State::Open);
        // Spanish comes with the last event only: its own was lost.
        answer.take(&completed("hello", &["fr", "es"])).unwrap();
        assert_eq!(*answer.state(), State::Complete);
        let file = std::fs::read(directory.path().join("note.es.mp3")).unwrap();
        assert_eq!(file, b"mp3 bytes");
        let files = answer.write_texts().unwrap();
        let translations: Value =
            serde_json::from_slice(&std::fs::read(&files[1]).unwrap()).unwrap();
        assert_eq!(translations["fr"]["text"], "bonjour");
    }

    #[test]
    fn what_is_missing_at_the_end_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut partial = answer(directory.path());
        partial.take(&completed("hello", &["fr"])).unwrap();
        assert_eq!(
            *partial.state(),
            State::Failed("nothing was spoken in es".to_owned())
        );

        let mut silent = answer(directory.path());
        silent.take(&completed(" ", &[])).unwrap();
        assert!(matches!(silent.state(), State::Failed(reason) if reason.contains("no speech")));

        let mut failed = answer(directory.path());
        failed.take(&completed("hello", &[])).unwrap();
        assert_eq!(
            *failed.state(),
            State::Ending("nothing was spoken in fr, es".to_owned())
        );
        let error = json!({
            "type": "audio_process_error", "messageId": "m", "error": "no voice",
            "errorCode": "tts_failed", "reason": "unsupported_language", "stage": "synthesize",
        });
        failed.take(&message(error, b"")).unwrap();
        let expected = "no voice (tts_failed, unsupported_language, synthesize)".to_owned();
        assert_eq!(*failed.state(), State::Failed(expected));
    }

    #[test]
    fn a_text_is_complete_with_its_last_language() {
        let directory = tempfile::tempdir().unwrap();
        let mut answer = Answer::to(
            "m",
            &[language("fr"), language("es")],
            directory.path(),
            "note",
        );
        for (code, state) in [("fr", State::Open), ("es", State::Complete)] {
            let event = json!({
                "type": "translation_completed", "taskId": "t", "targetLanguage": code,
                "result": {
                    "messageId": "m", "translatedText": "x", "sourceLanguage": "en",
                    "targetLanguage": code, "processingTime": 0.1,
                },
            });
            answer.take(&message(event, b"")).unwrap();
            assert_eq!(*answer.state(), state);
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_only_when_it_is_ours() {
        let directory = tempfile::tempdir().unwrap();
        let mut answer = answer(directory.path());
        assert!(answer.take(&[]).unwrap().is_none());
        assert!(answer.take(&[Bytes::from_static(b"{")]).unwrap().is_none());
        let event = json!({"type": "transcription_ready", "messageId": "m"});
        assert!(answer.take(&message(event, b"")).is_err());
        let event = json!({"type": "something_new", "messageId": "m"});
        assert!(answer.take(&message(event, b"")).unwrap().is_some());
        let mut silent = translated("m", "fr");
        silent.truncate(1);
        assert!(answer.take(&silent).is_err(), "no audio");
        let language = json!({
            "type": "audio_translation_ready", "messageId": "m", "language": "../x",
            "translatedAudio": spoken("../x"),
        });
        assert!(
            answer.take(&message(language, b"x")).is_err(),
            "no language code"
        );
    }

    #[test]
    fn a_text_cannot_command_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(
            printable(&"é".repeat(400)).chars().count(),
            SHOWN_CHARACTERS + 1
        );
    }
}
