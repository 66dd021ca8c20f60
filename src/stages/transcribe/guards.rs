//! Takes out what Whisper writes although nobody said it (contract/rules.md, section 2).
//!
//! Over silence and noise Whisper falls back on what its training data said there: credits of
//! subtitles and closing words of videos. It may also repeat itself until its window is full.

use crate::domain::Language;

/// What speaks for or against an utterance having been said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    /// Length in time.
    pub(super) duration_ms: u64,
    /// Mean token probability, 0..1.
    pub(super) confidence: f32,
    /// Whisper's probability that nobody speaks in the window, 0..1.
    pub(super) no_speech_probability: f32,
    /// Share of the time in which the detector hears speech, 0..1.
    pub(super) voiced_fraction: f32,
}

impl Evidence {
    /// True when the utterance may well be invented; a clearly spoken one is never filtered by its
    /// words, for somebody may really say "thanks for watching".
    fn is_weak(&self) -> bool {
        self.confidence < 0.5 || self.no_speech_probability >= 0.5 || self.voiced_fraction < 0.2
    }

    /// True when suspect words are enough to drop the utterance (limits of rules.md).
    fn is_very_weak(&self) -> bool {
        self.duration_ms < 10 || self.confidence < 0.2
    }
}

/// True when an utterance is to be dropped.
pub(super) fn is_hallucination(text: &str, language: Language, evidence: Evidence) -> bool {
    is_wordless(text)
        || is_annotation(text)
        || is_foreign_script(text, language)
        || (evidence.is_weak() && is_stock_phrase(text))
        || (evidence.is_very_weak() && has_suspect_words(text))
}

/// True for text without a letter or digit.
fn is_wordless(text: &str) -> bool {
    !text.chars().any(char::is_alphanumeric)
}

/// True for a description of sound: `[Music]`, `(applause)`, `*sighs*`, `♪ la la ♪`.
fn is_annotation(text: &str) -> bool {
    let text = text.trim();
    [
        ("[", "]"),
        ("(", ")"),
        ("（", "）"),
        ("【", "】"),
        ("*", "*"),
        ("♪", "♪"),
    ]
    .into_iter()
    .any(|(open, close)| {
        text.strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close))
            .is_some_and(|inside| !inside.contains(open) && !inside.contains(close))
    })
}

/// Languages in which mostly Cyrillic or Chinese, Japanese or Korean letters are an error.
const LATIN_SCRIPT: [&str; 10] = ["fr", "en", "es", "pt", "de", "it", "nl", "pl", "ro", "sv"];

/// True when most letters are Cyrillic or CJK in a language that is written in Latin letters.
fn is_foreign_script(text: &str, language: Language) -> bool {
    if !LATIN_SCRIPT.contains(&language.as_str()) {
        return false;
    }
    let letters = text.chars().filter(|c| c.is_alphabetic());
    let (foreign, all) = letters.fold((0_usize, 0_usize), |(foreign, all), c| {
        (foreign + usize::from(is_cyrillic_or_cjk(c)), all + 1)
    });
    foreign * 2 > all
}

fn is_cyrillic_or_cjk(c: char) -> bool {
    matches!(c,
        '\u{0400}'..='\u{052F}' | '\u{1100}'..='\u{11FF}' | '\u{3040}'..='\u{318F}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// What Whisper is known to invent, in the form of [`normalize`].
#[rustfmt::skip]
const STOCK_PHRASES: &[&str] = &[
    // en
    "thanks for watching", "thank you for watching", "thank you so much for watching",
    "thanks for watching and see you next time", "please subscribe", "please subscribe to my channel",
    "like and subscribe", "don t forget to like and subscribe", "subscribe to the channel",
    "see you in the next video", "i ll see you in the next video", "subtitles by the amara org community",
    "transcription by castingwords", "thank you very much for watching",
    // fr
    "merci d avoir regardé", "merci d avoir regardé cette vidéo", "merci d avoir regardé la vidéo",
    "abonnez vous", "abonnez vous à la chaîne", "n oubliez pas de vous abonner", "sous titres amara org",
    "sous titres réalisés par la communauté d amara org", "sous titres réalisés para la communauté d amara org",
    "sous titres par la communauté d amara org", "sous titrage st 501", "sous titrage société radio canada",
    "à la prochaine vidéo",
    // es
    "gracias por ver", "gracias por ver el video", "gracias por ver el vídeo", "suscríbete",
    "suscríbete al canal", "no olvides suscribirte", "subtítulos por la comunidad de amara org",
    "subtítulos realizados por la comunidad de amara org",
    // pt
    "obrigado por assistir", "obrigada por assistir", "inscreva se", "inscreva se no canal",
    "legendas pela comunidade amara org", "legendado pela comunidade amara org",
    // de
    "danke fürs zuschauen", "vielen dank fürs zuschauen", "vielen dank für s zuschauen",
    "untertitel der amara org community", "untertitelung des zdf",
    "untertitelung des zdf für funk 2017", "untertitel im auftrag des zdf für funk 2017",
    "untertitelung aufgrund der amara org community", "abonniert den kanal",
    // it
    "grazie per aver guardato il video", "grazie per la visione", "iscriviti al canale", "iscrivetevi al canale",
    "sottotitoli creati dalla comunità amara org", "sottotitoli e revisione a cura di qtss",
    // nl, pl, ro, sv
    "bedankt voor het kijken", "ondertitels ingediend door de amara org gemeenschap", "ondertiteld door de amara org gemeenschap",
    "dziękuję za oglądanie", "dzięki za oglądanie", "napisy stworzone przez społeczność amara org",
    "vă mulțumesc pentru vizionare", "mulțumesc pentru vizionare", "nu uitați să vă abonați",
    "tack för att ni tittade", "tack för att du tittade", "textning stina hedin www btistudios com",
    // ru, uk
    "продолжение следует", "спасибо за просмотр", "подписывайтесь на канал", "субтитры сделал dimatorzok",
    "субтитры создавал dimatorzok", "редактор субтитров а синецкая корректор а егорова", "дякую за перегляд",
    // zh, ja, ko
    "请订阅", "谢谢观看", "謝謝觀看", "感谢观看", "谢谢大家观看", "请不吝点赞订阅转发打赏支持明镜与点点栏目",
    "請不吝點贊訂閱轉發打賞支持明鏡與點點欄目", "字幕由amara org社区提供", "由amara org社群提供的字幕",
    "ご視聴ありがとうございました", "最後までご視聴いただきありがとうございました", "チャンネル登録お願いします",
    "시청해주셔서 감사합니다", "시청해 주셔서 감사합니다", "구독과 좋아요 부탁드립니다",
    // ar, tr
    "ترجمة نانسي قنقر", "شكرا للمشاهدة", "اشتركوا في القناة", "izlediğiniz için teşekkür ederim",
    "altyazı m k", "abone olmayı unutmayın",
];

/// True when the whole text is one of [`STOCK_PHRASES`].
fn is_stock_phrase(text: &str) -> bool {
    let text = normalize(text);
    // Chinese and Japanese are written without spaces, so there they mean nothing.
    let dense = text.replace(' ', "");
    let is_spaced = text.is_ascii() || !dense.chars().any(super::words::is_unspaced);
    STOCK_PHRASES
        .iter()
        .any(|phrase| *phrase == text || (!is_spaced && phrase.replace(' ', "") == dense))
}

/// Beginnings of words that are at home in stock phrases, in the form of [`normalize`].
const SUSPECT_WORDS: &[&str] = &[
    "amara",
    "subscri",
    "watching",
    "subtit",
    "sous titr",
    "abonn",
    "regardé",
    "suscr",
    "subtít",
    "legenda",
    "inscreva",
    "untertitel",
    "zuschau",
    "iscriv",
    "sottotitol",
    "ondertitel",
    "napisy",
    "субтитр",
    "продолжение",
    "подпис",
    "просмотр",
    "订阅",
    "訂閱",
    "观看",
    "觀看",
    "字幕",
    "視聴",
    "チャンネル登録",
    "시청",
    "구독",
    "ترجمة",
];

fn has_suspect_words(text: &str) -> bool {
    let text = normalize(text);
    SUSPECT_WORDS.iter().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            let begins_word = text[..at].ends_with(' ') || at == 0;
            begins_word || word.chars().any(super::words::is_unspaced)
        })
    })
}

/// Lower case, with one space for whatever is no letter or digit.
fn normalize(text: &str) -> String {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Longest phrase, in words, that is looked at for repetition.
const MAX_LOOP_WORDS: usize = 16;
/// Repetitions in a row that make a loop, for phrases of 1 to 2 words and for longer ones. People
/// say "no no no no", but hardly a sentence four times.
const LOOP_REPEATS: (usize, usize) = (8, 4);

/// Tells for each word whether it stays when endless repetition is cut to its first occurrence.
pub(super) fn without_loops(words: &[&str]) -> Vec<bool> {
    let words: Vec<String> = words.iter().map(|word| normalize(word)).collect();
    let mut keep = vec![true; words.len()];
    let mut at = 0;
    while at < words.len() {
        let found = (1..=MAX_LOOP_WORDS).find_map(|length| {
            let repeats = repeats(&words[at..], length);
            let limit = if length <= 2 {
                LOOP_REPEATS.0
            } else {
                LOOP_REPEATS.1
            };
            (repeats >= limit).then_some((length, length * repeats))
        });
        if let Some((length, total)) = found {
            keep[at + length..at + total].fill(false);
            at += total;
        } else {
            at += 1;
        }
    }
    keep
}

/// How often the first `length` words follow each other from the beginning on.
fn repeats(words: &[String], length: usize) -> usize {
    let Some(phrase) = words.get(..length) else {
        return 0;
    };
    words
        .chunks_exact(length)
        .take_while(|chunk| *chunk == phrase)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: Evidence = Evidence {
        duration_ms: 1500,
        confidence: 0.9,
        no_speech_probability: 0.02,
        voiced_fraction: 0.9,
    };

    fn weak(change: impl Fn(&mut Evidence)) -> Evidence {
        let mut evidence = CLEAR;
        change(&mut evidence);
        evidence
    }

    fn drops(text: &str, language: &str, evidence: Evidence) -> bool {
        is_hallucination(text, Language::parse(language).unwrap(), evidence)
    }

    #[test]
    fn stock_phrases_fall_when_evidence_is_weak_only() {
        let noise = weak(|e| e.no_speech_probability = 0.8);
        let unsure = weak(|e| e.confidence = 0.4);
        let quiet = weak(|e| e.voiced_fraction = 0.05);
        for (text, language) in [
            (" Thanks for watching!", "en"),
            ("Sous-titres réalisés par la communauté d'Amara.org", "fr"),
            ("¡Suscríbete!", "es"),
            ("Продолжение следует...", "ru"),
            ("请 订阅", "zh"),
            ("ご視聴ありがとうございました。", "ja"),
        ] {
            for evidence in [noise, unsure, quiet] {
                assert!(drops(text, language, evidence), "{text}");
            }
            assert!(!drops(text, language, CLEAR), "{text}");
        }
        assert!(!drops("Thanks for watching the kids today.", "en", noise));
    }

    #[test]
    fn suspect_words_fall_when_very_short_or_very_unsure() {
        let flash = weak(|e| e.duration_ms = 9);
        let guess = weak(|e| e.confidence = 0.19);
        for evidence in [flash, guess] {
            assert!(drops("and subscribe to us", "en", evidence));
            assert!(drops("这里的字幕", "zh", evidence));
            assert!(!drops("see you tonight", "en", evidence));
            assert!(!drops("a resubscription", "en", evidence));
        }
        assert!(!drops(
            "did you subscribe?",
            "en",
            weak(|e| e.confidence = 0.3)
        ));
    }

    #[test]
    fn foreign_scripts_fall_in_latin_languages_only() {
        assert!(drops("Спасибо", "fr", CLEAR));
        assert!(drops("谢谢", "en", CLEAR));
        assert!(drops("감사합니다", "de", CLEAR));
        assert!(!drops("Спасибо", "ru", CLEAR));
        assert!(!drops("谢谢", "vi", CLEAR));
        assert!(!drops("Il a dit « Да » et il est parti", "fr", CLEAR));
    }

    #[test]
    fn what_holds_no_words_falls() {
        for text in [
            "...",
            " - ",
            "",
            "[Music]",
            "(rires)",
            "♪♪",
            "*sighs*",
            "♪ la la la ♪",
        ] {
            assert!(drops(text, "en", CLEAR), "{text}");
        }
        assert!(!drops("(yes) and (no)", "en", CLEAR));
    }

    fn kept(text: &str) -> String {
        let words: Vec<&str> = text.split(' ').collect();
        let keep = without_loops(&words);
        let kept = words
            .iter()
            .zip(keep)
            .filter_map(|(word, keep)| keep.then_some(*word));
        kept.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn loops_are_cut_to_one_round() {
        assert_eq!(
            kept(&["I'm fine, thanks."; 5].join(" ")),
            "I'm fine, thanks."
        );
        assert_eq!(
            kept(&format!("so {} bye", ["la"; 30].join(" "))),
            "so la bye"
        );
        assert_eq!(kept(&["a b c d e"; 20].join(" ")), "a b c d e");
    }

    #[test]
    fn people_may_repeat_themselves() {
        for said in [
            "no no no no no",
            "je t'aime, je t'aime, je t'aime",
            "ha ha ha ha ha ha ha",
            "it is what it is",
        ] {
            assert_eq!(kept(said), said);
        }
    }
}
