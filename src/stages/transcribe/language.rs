//! Which language is spoken: Whisper's codes, its guess, and the sender's word.

use whisper_rs::{WhisperTokenId, get_lang_max_id, get_lang_str};

use super::TranscribeRequest;
use crate::domain::Language;

/// Below this declared length the sender's language counts more than Whisper's guess
/// (contract/rules.md, section 2).
const SHORT_AUDIO_MS: u64 = 6000;
/// From this probability on Whisper's guess counts more than the sender's language (same place).
const RELIABLE_DETECTION: f32 = 0.80;
/// Vocabulary entries of a multilingual model that are no languages: 50257 pieces of text, 1501
/// timestamps, eight other marks.
const TOKENS_BESIDE_LANGUAGES: usize = 51_766;

/// A language that Whisper can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpokenLanguage {
    /// Our code.
    pub(super) language: Language,
    /// Whisper's code.
    pub(super) whisper_code: &'static str,
}

impl SpokenLanguage {
    pub(super) const ENGLISH: Self = Self {
        language: Language::ENGLISH,
        whisper_code: "en",
    };

    /// `None` when Whisper does not know the language.
    pub(super) fn from_language(language: Language) -> Option<Self> {
        let code = match language.as_str() {
            "jv" => "jw",
            "fil" => "tl",
            "nb" => "no",
            code => code,
        };
        // Not `get_lang_id`: it logs an error for each code that Whisper does not know.
        let whisper_code = (0..=get_lang_max_id())
            .filter_map(get_lang_str)
            .find(|known| *known == code)?;
        Some(Self {
            language,
            whisper_code,
        })
    }

    /// `None` for Hawaiian, which has no code of ours.
    fn from_whisper_id(id: i32) -> Option<Self> {
        let whisper_code = get_lang_str(id)?;
        let language = Language::parse(match whisper_code {
            "jw" => "jv",
            "nn" => "no",
            "yue" => "zh",
            code => code,
        })?;
        Some(Self {
            language,
            whisper_code,
        })
    }
}

/// Whisper's guess.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Detection {
    pub(super) spoken: SpokenLanguage,
    /// Probability in 0..1 among all languages.
    pub(super) probability: f32,
}

impl Detection {
    /// Reads the guess from the logits that follow the start token alone.
    ///
    /// `logits` is `[vocabulary]`; the language tokens begin at `first_language`. whisper.cpp's own
    /// detection counts one language too many for models before large-v3, so it is not used.
    pub(super) fn from_logits(logits: &[f32], first_language: WhisperTokenId) -> Option<Self> {
        let first = usize::try_from(first_language).ok()?;
        let count = logits.len().checked_sub(TOKENS_BESIDE_LANGUAGES)?;
        let logits = logits.get(first..first + count)?;
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        if !total.is_finite() {
            return None;
        }
        let candidates = (0..).zip(logits).filter_map(|(id, logit)| {
            Some(Self {
                spoken: SpokenLanguage::from_whisper_id(id)?,
                probability: (logit - largest).exp() / total,
            })
        });
        // The first of equals, so that the answer does not depend on sorting.
        candidates.reduce(|best, next| {
            if next.probability > best.probability {
                next
            } else {
                best
            }
        })
    }
}

/// Who decides the language (contract/rules.md, section 2).
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// It is decided: by the model, which knows no other, or by the sender of a short recording.
    Known(SpokenLanguage),
    /// The sender, unless the model is sure of another.
    Declared(SpokenLanguage),
    /// The model; the default where it cannot tell.
    Open { default: SpokenLanguage },
}

impl Rule {
    /// For a model of many languages.
    pub(super) fn of(request: &TranscribeRequest) -> Self {
        let declared = request
            .language_hint
            .and_then(SpokenLanguage::from_language);
        match declared {
            Some(declared) if is_short(request.declared_duration_ms) => Self::Known(declared),
            Some(declared) => Self::Declared(declared),
            None => Self::Open {
                default: SpokenLanguage::from_language(request.default_language)
                    .unwrap_or(SpokenLanguage::ENGLISH),
            },
        }
    }

    /// The language to begin with, where nobody said it that of `last`, a recording of which nobody said it too.
    pub(super) fn guess(self, last: Option<SpokenLanguage>) -> SpokenLanguage {
        match self {
            Self::Known(spoken) | Self::Declared(spoken) => spoken,
            Self::Open { default } => last.unwrap_or(default),
        }
    }

    /// The language to write and its probability, where the model is asked.
    pub(super) fn choose(self, detection: Option<Detection>) -> Option<(SpokenLanguage, f32)> {
        match (self, detection) {
            (Self::Known(_), _) => None,
            (Self::Declared(declared), Some(found)) if overrules(&found, declared) => {
                Some((found.spoken, found.probability))
            }
            (Self::Declared(declared), _) => Some((declared, 1.0)),
            (Self::Open { .. }, Some(found)) => Some((found.spoken, found.probability)),
            (Self::Open { default }, None) => Some((default, 0.0)),
        }
    }
}

/// True when the sender's language is taken without asking Whisper.
fn is_short(declared_duration_ms: Option<u64>) -> bool {
    declared_duration_ms.is_some_and(|duration_ms| duration_ms < SHORT_AUDIO_MS)
}

/// True when Whisper's guess beats the sender's language.
fn overrules(detection: &Detection, declared: SpokenLanguage) -> bool {
    detection.probability >= RELIABLE_DETECTION
        && detection.spoken.whisper_code != declared.whisper_code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(code: &str) -> Option<SpokenLanguage> {
        SpokenLanguage::from_language(Language::parse(code).unwrap())
    }

    #[test]
    fn codes_go_both_ways() {
        for (ours, whispers) in [
            ("fr", "fr"),
            ("jv", "jw"),
            ("fil", "tl"),
            ("zh", "zh"),
            ("he", "he"),
        ] {
            assert_eq!(spoken(ours).unwrap().whisper_code, whispers);
        }
        assert_eq!(spoken("bas"), None);
        let ours = |id| SpokenLanguage::from_whisper_id(id).map(|s| s.language.to_string());
        assert_eq!(ours(0).as_deref(), Some("en"));
        assert_eq!(ours(97).as_deref(), Some("jv"));
        assert_eq!(ours(83).as_deref(), Some("no"));
        assert_eq!(ours(99).as_deref(), Some("zh"));
        assert_eq!(ours(93), None);
    }

    #[test]
    fn detection_is_a_softmax_over_the_models_languages() {
        let mut logits = vec![0.0; 51_865];
        let first = 50_259;
        logits[first + 6] = 10.0; // French
        logits[first + 99] = 50.0; // "translate" in a model of 99 languages
        let detection = Detection::from_logits(&logits, first as i32).unwrap();
        assert_eq!(detection.spoken.language, Language::FRENCH);
        let expected = 10f32.exp() / (10f32.exp() + 98.0);
        assert!((detection.probability - expected).abs() < 1e-5);
        assert_eq!(
            Detection::from_logits(&logits[..50_300], first as i32),
            None
        );
        logits[first + 6] = f32::NAN;
        assert_eq!(Detection::from_logits(&logits, first as i32), None);
    }

    #[test]
    fn the_senders_language_wins_when_short_or_unsure() {
        assert!(is_short(Some(5999)));
        assert!(!is_short(Some(6000)));
        assert!(!is_short(None));
        let detected = |probability| Detection {
            spoken: SpokenLanguage::ENGLISH,
            probability,
        };
        let french = spoken("fr").unwrap();
        assert!(!overrules(&detected(0.79), french));
        assert!(overrules(&detected(0.80), french));
        assert!(!overrules(&detected(0.99), SpokenLanguage::ENGLISH));
    }
}
