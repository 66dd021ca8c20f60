//! Which base voice speaks which language.

use super::espeak::Espeak;
use super::piper::PiperVoice;
use crate::domain::Language;

/// The base voices that are there.
#[derive(Debug, Clone)]
pub struct BaseVoices {
    espeak: Espeak,
    piper: Vec<PiperVoice>,
}

/// A base voice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseVoice {
    /// espeak-ng itself, with this name of its voice.
    Espeak(String),
    /// The Piper voice of that number.
    Piper(usize),
}

impl BaseVoices {
    /// Takes the Piper voices whose phonemes the program knows.
    pub fn new(espeak: Espeak, piper: Vec<PiperVoice>) -> Self {
        let (known, unknown): (Vec<_>, Vec<_>) = piper
            .into_iter()
            .partition(|voice| espeak.has_voice(voice.espeak_voice()));
        for voice in unknown {
            let (name, needed) = (voice.name(), voice.espeak_voice());
            tracing::warn!(
                name,
                needed,
                "espeak-ng lacks the voice that a piper voice needs"
            );
        }
        Self {
            espeak,
            piper: known,
        }
    }

    /// The voice that speaks a language: a Piper voice, the first where there are several, else
    /// espeak-ng's.
    pub fn voice(&self, language: Language) -> Option<BaseVoice> {
        let is_of_language = |voice: &PiperVoice| voice.language() == language;
        match self.piper.iter().position(is_of_language) {
            Some(number) => Some(BaseVoice::Piper(number)),
            None => {
                let name = self.espeak.voice(language)?;
                Some(BaseVoice::Espeak(name.to_owned()))
            }
        }
    }

    /// True when a base voice speaks the language.
    pub fn speaks(&self, language: Language) -> bool {
        self.voice(language).is_some()
    }

    /// Names a voice for people, in documents and in cache keys: `espeak-ng:fr-fr`, `piper:fr_FR-siwis-medium`.
    pub fn name(&self, voice: &BaseVoice) -> String {
        match voice {
            BaseVoice::Espeak(name) => format!("espeak-ng:{name}"),
            BaseVoice::Piper(number) => {
                let name = self.piper.get(*number).map_or("", PiperVoice::name);
                format!("piper:{name}")
            }
        }
    }

    /// The program.
    pub fn espeak(&self) -> &Espeak {
        &self.espeak
    }

    /// The Piper voices.
    pub fn piper(&self) -> &[PiperVoice] {
        &self.piper
    }
}
