//! Which synthesizer reads a language aloud.

use std::sync::Arc;

use super::UnspokenLanguage;
use crate::domain::Language;
use crate::stages::synthesize::XttsMetadata;
use crate::stages::synthesize::base::BaseVoices;

/// What the synthesizers can speak; nothing while none is installed.
#[derive(Default)]
pub struct Spoken {
    /// What XTTS can.
    pub xtts: Option<XttsMetadata>,
    /// What base voices can.
    pub base: Option<Arc<BaseVoices>>,
    /// True: base voices speak whatever they can, XTTS the rest.
    pub prefers_base: bool,
    /// True: what base voices say is given the sender's voice.
    pub converts: bool,
}

/// Who reads a text aloud, by the rules of which language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// XTTS, in the chosen voice.
    Xtts(Language),
    /// The language's base voice.
    Base(Language),
}

impl Spoken {
    /// True while nothing is installed that speaks.
    pub fn is_silent(&self) -> bool {
        self.xtts.is_none() && self.base.is_none()
    }

    /// True when a language is spoken by its own rules.
    pub fn speaks(&self, language: Language) -> bool {
        self.own_reader(language).is_some()
    }

    /// True when a language is spoken in the sender's voice.
    pub fn clones(&self, language: Language) -> bool {
        match self.own_reader(language) {
            Some(Reader::Xtts(_)) => true,
            Some(Reader::Base(_)) => self.converts,
            None => false,
        }
    }

    /// Who reads a language; `None` when nobody is to.
    ///
    /// While no synthesizer is installed it is XTTS, which fails with the reason.
    pub(super) fn reader(&self, language: Language, otherwise: UnspokenLanguage) -> Option<Reader> {
        if self.is_silent() {
            return Some(Reader::Xtts(language));
        }
        self.own_reader(language).or_else(|| match otherwise {
            UnspokenLanguage::Skip => None,
            UnspokenLanguage::English => self.own_reader(Language::ENGLISH),
            UnspokenLanguage::Related => self.own_reader(related(language)),
        })
    }

    fn own_reader(&self, language: Language) -> Option<Reader> {
        let xtts = self.xtts.as_ref().is_some_and(|xtts| xtts.speaks(language));
        let base = self.base.as_ref().is_some_and(|base| base.speaks(language));
        match (xtts, base) {
            (true, true) if self.prefers_base => Some(Reader::Base(language)),
            (true, _) => Some(Reader::Xtts(language)),
            (false, true) => Some(Reader::Base(language)),
            (false, false) => None,
        }
    }
}

/// The language with a voice that sounds nearest; languages of Cameroon are read by French speakers.
fn related(language: Language) -> Language {
    let code = match language.as_str() {
        "bas" | "ksf" | "nnh" | "dua" | "bum" | "ewo" | "byv" | "fan" | "ln" | "wo" | "ff"
        | "bm" => "fr",
        "ca" | "gl" => "es",
        "uk" | "bg" | "kk" => "ru",
        "sk" | "sl" | "hr" | "sr" => "cs",
        "ro" => "it",
        "af" => "nl",
        "az" | "uz" => "tr",
        "fa" | "ur" => "ar",
        "ne" | "bn" => "hi",
        _ => "en",
    };
    Language::parse(code).unwrap_or(Language::ENGLISH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing::fixture;
    use crate::stages::synthesize::base::Espeak;

    const SKIP: UnspokenLanguage = UnspokenLanguage::Skip;

    /// XTTS speaks what the bundled model does; the base voices are Welsh, English and Chinese ones.
    fn spoken(has_xtts: bool, has_base: bool) -> Spoken {
        let espeak = Espeak::of_voices(&["cy", "en", "cmn"]);
        Spoken {
            xtts: has_xtts.then(|| XttsMetadata::read(&fixture("xtts")).unwrap()),
            base: has_base.then(|| Arc::new(BaseVoices::new(espeak, Vec::new()))),
            ..Spoken::default()
        }
    }

    fn language(code: &str) -> Language {
        Language::parse(code).unwrap()
    }

    #[test]
    fn xtts_speaks_what_it_can_and_base_voices_the_rest() {
        let spoken = spoken(true, true);
        let (welsh, chinese) = (language("cy"), language("zh"));
        let reader = |language| spoken.reader(language, SKIP);
        assert_eq!(
            reader(Language::ENGLISH),
            Some(Reader::Xtts(Language::ENGLISH))
        );
        assert_eq!(reader(welsh), Some(Reader::Base(welsh)));
        // It is in the model's list, but its text front end lacks it.
        assert_eq!(reader(chinese), Some(Reader::Base(chinese)));
        assert_eq!(reader(language("ln")), None);
        assert!(spoken.speaks(welsh) && !spoken.clones(welsh));
        assert!(spoken.clones(Language::ENGLISH));
    }

    #[test]
    fn base_voices_may_be_preferred_or_alone() {
        let preferred = Spoken {
            prefers_base: true,
            converts: true,
            ..spoken(true, true)
        };
        let english = Language::ENGLISH;
        assert_eq!(preferred.reader(english, SKIP), Some(Reader::Base(english)));
        assert!(preferred.clones(english));
        let french = Language::FRENCH;
        assert_eq!(preferred.reader(french, SKIP), Some(Reader::Xtts(french)));
        let alone = spoken(false, true);
        assert_eq!(alone.reader(english, SKIP), Some(Reader::Base(english)));
        assert_eq!(alone.reader(french, SKIP), None);
    }

    #[test]
    fn languages_without_a_voice_may_be_read_by_anothers_rules() {
        let both = spoken(true, true);
        let ukrainian = language("uk");
        let reader = |spoken: &Spoken, otherwise| spoken.reader(ukrainian, otherwise);
        assert_eq!(reader(&both, SKIP), None);
        assert_eq!(
            reader(&both, UnspokenLanguage::English),
            Some(Reader::Xtts(Language::ENGLISH))
        );
        assert_eq!(
            reader(&both, UnspokenLanguage::Related),
            Some(Reader::Xtts(language("ru")))
        );
        let base = spoken(false, true);
        assert_eq!(
            reader(&base, UnspokenLanguage::English),
            Some(Reader::Base(Language::ENGLISH))
        );
        assert_eq!(reader(&base, UnspokenLanguage::Related), None);
    }

    #[test]
    fn without_a_synthesizer_every_language_is_to_fail_with_the_reason() {
        let none = Spoken::default();
        let french = Language::FRENCH;
        assert_eq!(none.reader(french, SKIP), Some(Reader::Xtts(french)));
        assert!(!none.speaks(french));
    }
}
