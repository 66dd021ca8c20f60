//! espeak-ng, found at run time and run as a program: it is GPL, so it is never linked in.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::BaseVoiceError;
use super::plain::plain;
use super::program::{Bounds, ProgramError, run};
use super::wav;
use crate::domain::{Deadline, Language, Pcm};

/// For the list of voices: it reads a hundred small files.
const LISTING: Bounds = Bounds {
    output_bytes: 1 << 20,
    patience: Duration::from_secs(5),
};

/// For one unit: a second of computing gives minutes of speech. Ten minutes at 22,050 Hz, far more than
/// 250 characters can take.
const SPEAKING: Bounds = Bounds {
    output_bytes: 600 * 22_050 * 2,
    patience: Duration::from_secs(20),
};

/// For the phonemes of one unit.
const SPELLING: Bounds = Bounds {
    output_bytes: 1 << 20,
    patience: Duration::from_secs(20),
};

/// Voices of languages whose code here differs from espeak-ng's, the best first. Its Chinese spells most
/// characters as syllables in Latin letters, which only the voice for Pinyin does not read as English.
const NAMED_OTHERWISE: [(&str, &[&str]); 3] = [
    ("zh", &[PINYIN, CHINESE]),
    ("no", &["nb"]),
    ("tl", &["fil"]),
];

const CHINESE: &str = "cmn";
const PINYIN: &str = "cmn-latn-pinyin";

/// Languages that espeak-ng lists and does not read: it says "Chinese letter" for each of the characters
/// that nearly every Japanese sentence has.
const UNREADABLE: [&str; 1] = ["ja"];

/// The program with what it can speak.
#[derive(Debug, Clone)]
pub struct Espeak {
    program: PathBuf,
    version: String,
    voices: Vec<Voice>,
}

/// A line of the list of voices.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Voice {
    /// What `-v` takes, such as `fr-fr`.
    language: String,
    /// Lower is preferred.
    priority: u32,
    /// Other languages that it is for, each with the priority.
    others: Vec<(String, u32)>,
}

impl Espeak {
    /// Asks the program at this path for its version and its voices.
    ///
    /// # Errors
    /// It cannot be run, or is another one.
    pub fn find(program: &Path) -> Result<Self, BaseVoiceError> {
        let ask = |option| {
            let answer = run(program, &[option], b"", LISTING, &Deadline::none());
            answer.map_err(|source| failure(program, source))
        };
        let not_espeak = || BaseVoiceError::NotEspeak {
            program: program.to_owned(),
        };
        let version = ask("--version")?;
        let version = version_in(&String::from_utf8_lossy(&version)).ok_or_else(not_espeak)?;
        let listing = ask("--voices")?;
        let voices: Vec<Voice> = String::from_utf8_lossy(&listing)
            .lines()
            .filter_map(Voice::parse)
            .collect();
        if voices.is_empty() {
            return Err(not_espeak());
        }
        Ok(Self {
            program: program.to_owned(),
            version,
            voices,
        })
    }

    /// A program that is never run, with voices of these names.
    #[cfg(test)]
    pub(crate) fn of_voices(languages: &[&str]) -> Self {
        let voice = |language: &&str| Voice {
            language: (*language).to_owned(),
            priority: 5,
            others: Vec::new(),
        };
        Self {
            program: PathBuf::from("/nowhere/espeak-ng"),
            version: "1.0".to_owned(),
            voices: languages.iter().map(voice).collect(),
        }
    }

    /// The program's version, such as `1.51`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The voice that speaks a language best, as `-v` takes it.
    pub fn voice(&self, language: Language) -> Option<&str> {
        let code = language.as_str();
        if UNREADABLE.contains(&code) {
            return None;
        }
        let named = NAMED_OTHERWISE.iter().find(|(ours, _)| *ours == code);
        let named = named.map_or(&[][..], |(_, names)| names);
        if let Some(name) = named.iter().find(|name| self.has_voice(name)) {
            return Some(name);
        }
        let ranked = self.voices.iter().filter_map(|v| Some((v.rank(code)?, v)));
        let (_, best) = ranked.min_by_key(|(rank, _)| *rank)?;
        Some(&best.language)
    }

    /// True when `-v` takes a voice of this name.
    pub(super) fn has_voice(&self, name: &str) -> bool {
        self.voices.iter().any(|voice| voice.language == name)
    }

    /// Speaks one unit.
    ///
    /// # Errors
    /// The program fails, or says nothing.
    pub(super) fn speak(
        &self,
        voice: &str,
        text: &str,
        deadline: &Deadline,
    ) -> Result<Pcm, BaseVoiceError> {
        // UTF-8 in, WAV out, no pause at the end.
        let arguments = ["-b", "1", "-v", voice, "-z", "--stdin", "--stdout"];
        let output = self.run(&arguments, text, SPEAKING, deadline)?;
        wav::pcm(&output)
            .filter(|pcm| !pcm.samples().is_empty())
            .ok_or(BaseVoiceError::BadOutput("it is no WAV file with samples"))
    }

    /// One unit in the International Phonetic Alphabet, without punctuation.
    ///
    /// # Errors
    /// The program fails.
    pub(super) fn phonemes(
        &self,
        voice: &str,
        text: &str,
        deadline: &Deadline,
    ) -> Result<String, BaseVoiceError> {
        let voice = match voice {
            CHINESE if self.has_voice(PINYIN) => PINYIN,
            voice => voice,
        };
        let arguments = ["-b", "1", "-v", voice, "-q", "--ipa", "--stdin"];
        let output = self.run(&arguments, text, SPELLING, deadline)?;
        let lines = String::from_utf8(output)
            .map_err(|_| BaseVoiceError::BadOutput("its phonemes are no text"))?;
        // One line for what the program takes for a clause.
        let words: Vec<&str> = lines.split_whitespace().collect();
        Ok(words.join(" "))
    }

    /// The text goes through standard input: as an argument it could be an option, and other users of
    /// the machine could read it.
    fn run(
        &self,
        arguments: &[&str],
        text: &str,
        bounds: Bounds,
        deadline: &Deadline,
    ) -> Result<Vec<u8>, BaseVoiceError> {
        let text = plain(text);
        run(&self.program, arguments, text.as_bytes(), bounds, deadline)
            .map_err(|source| failure(&self.program, source))
    }
}

impl Voice {
    /// Reads ` 5  fr-fr  --/M  French_(France)  roa/fr  (fr 5)`; `None` for the heading and what no
    /// argument may be.
    fn parse(line: &str) -> Option<Self> {
        static OTHER: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r"\(([A-Za-z0-9-]+) ([0-9]{1,9})\)").ok());
        let mut fields = line.split_whitespace();
        let priority = fields.next()?.parse().ok()?;
        let language = fields.next().filter(|code| is_code(code))?;
        let others = OTHER.as_ref()?.captures_iter(line);
        Some(Self {
            language: language.to_owned(),
            priority,
            others: others
                .filter_map(|other| Some((other[1].to_owned(), other[2].parse().ok()?)))
                .collect(),
        })
    }

    /// How well it speaks a language, lower is better: its own before what it is listed for, and that
    /// before a region's or a script's.
    fn rank(&self, code: &str) -> Option<(u8, u32)> {
        if self.language == code {
            return Some((0, self.priority));
        }
        if let Some((_, priority)) = self.others.iter().find(|(other, _)| other == code) {
            return Some((1, *priority));
        }
        let region = self.language.strip_prefix(code)?.strip_prefix('-')?;
        // `fa-latn` reads Persian in Latin letters.
        let is_script = region.len() == 4;
        (!is_script).then_some((2, self.priority))
    }
}

/// Letters, digits and hyphens, none of them first.
fn is_code(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `1.51` in `eSpeak NG text-to-speech: 1.51  Data at: …`.
fn version_in(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("text-to-speech:")?;
    let version = rest.split_whitespace().next()?;
    let is_version = version.len() <= 20
        && version
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-+~".contains(&byte));
    is_version.then(|| version.to_owned())
}

fn failure(program: &Path, source: ProgramError) -> BaseVoiceError {
    BaseVoiceError::Program {
        program: program.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  cmn             --/M      Chinese_(Mandarin) sit/cmn              (zh-cmn 5)(zh 5)
 5  cmn-latn-pinyin --/M      Chinese_(Mandarin,_latin_as_Pinyin) sit/cmn-Latn-pinyin  (zh-cmn 5)(zh 5)
 5  ja              --/M      Japanese           jpx/ja
 2  en-gb           --/M      English_(Great_Britain) gmw/en               (en 2)
 2  en-us           --/M      English_(America)  gmw/en-US            (en 3)
 5  fa              --/M      Persian            ira/fa
 5  fa-latn         --/M      Persian_(Pinglish) ira/fa-Latn
 5  fr-be           --/M      French_(Belgium)   roa/fr-BE            (fr 8)
 5  fr-fr           --/M      French_(France)    roa/fr               (fr 5)
 5  nb              --/M      Norwegian_Bokmål   gmq/nb               (no 5)
 5  pt              --/M      Portuguese_(Portugal) roa/pt               (pt-pt 5)
 5  pt-br           --/M      Portuguese_(Brazil) roa/pt-BR            (pt 6)
 5  uz-latn         --/M      Uzbek              trk/uz
 5  vi              --/M      Vietnamese_(Northern) aav/vi
 5  --help          --/M      Odd                x/y
 5  vi-vn-x-central --/M      Vietnamese_(Central) aav/vi-VN-x-central
";

    fn espeak() -> Espeak {
        Espeak {
            program: PathBuf::from("/usr/bin/espeak-ng"),
            version: "1.51".to_owned(),
            voices: LISTING.lines().filter_map(Voice::parse).collect(),
        }
    }

    #[test]
    fn the_best_voice_of_a_language_is_found() {
        let espeak = espeak();
        assert_eq!(espeak.voices.len(), 15, "heading and options are no voices");
        for (language, voice) in [
            ("en", Some("en-gb")),
            ("fr", Some("fr-fr")),
            ("pt", Some("pt")),
            ("zh", Some("cmn-latn-pinyin")),
            ("ja", None),
            ("no", Some("nb")),
            ("fa", Some("fa")),
            ("vi", Some("vi")),
            ("uz", None),
            ("ln", None),
        ] {
            let language = Language::parse(language).unwrap();
            assert_eq!(espeak.voice(language), voice, "{language}");
        }
        assert!(espeak.has_voice("en-us") && !espeak.has_voice("--help"));
    }

    #[test]
    fn versions_are_read() {
        let answer = "eSpeak NG text-to-speech: 1.51  Data at: /usr/lib/espeak-ng-data";
        assert_eq!(version_in(answer).as_deref(), Some("1.51"));
        assert_eq!(version_in("GNU bash, version 5"), None);
        assert_eq!(version_in("text-to-speech: "), None);
        assert_eq!(version_in("text-to-speech: a\u{1b}[2J"), None);
    }
}
