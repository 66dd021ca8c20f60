//! Prose in pieces that a model takes in one pass.

use unicode_segmentation::UnicodeSegmentation;

/// Cuts a text into its sentences, each with the white space behind it; put together they are the text.
///
/// Translation models are trained on single sentences and tend to drop the second of two. The
/// boundaries are those of Unicode (UAX #29), but for abbreviated titles (`Mr. Harlow` is no boundary)
/// and for people who begin sentences in lower case, as many do in messages.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let (mut start, mut end) = (0, 0);
    for piece in text.split_sentence_bounds().flat_map(lower_case_sentences) {
        end += piece.len();
        if is_sentence(&text[start..end]) {
            sentences.push(&text[start..end]);
            start = end;
        }
    }
    if start < text.len() {
        sentences.push(&text[start..]);
    }
    sentences
}

/// Cuts after `word. ` where the next sentence begins in lower case, which UAX #29 takes for an
/// abbreviation; short words and common abbreviations are left to it.
fn lower_case_sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(". ") {
        let end = at + 2;
        let last_word = text[start..at]
            .rsplit(char::is_whitespace)
            .next()
            .unwrap_or_default();
        let is_word = last_word.chars().count() >= 3
            && last_word.chars().all(char::is_alphabetic)
            && !ABBREVIATIONS.contains(&last_word.to_lowercase().as_str());
        if is_word && text[end..].starts_with(char::is_lowercase) {
            sentences.push(&text[start..end]);
            start = end;
        }
    }
    sentences.push(&text[start..]);
    sentences
}

/// Words of three letters or more that are written with a dot in the middle of a sentence.
const ABBREVIATIONS: [&str; 18] = [
    "approx", "aprox", "bzw", "dept", "ecc", "env", "etc", "evtl", "fig", "ggf", "incl", "max",
    "min", "resp", "tel", "usw", "vgl", "vol",
];

/// False for what has no words of its own, or ends in an abbreviated title.
fn is_sentence(text: &str) -> bool {
    let text = text.trim_end();
    let has_words = text.chars().any(char::is_alphanumeric);
    let Some(before_dot) = text.strip_suffix('.') else {
        return has_words;
    };
    let last_word = before_dot
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default();
    let is_short_name = last_word.chars().count() <= 2
        && last_word.chars().all(char::is_alphabetic)
        && last_word.chars().next().is_some_and(char::is_uppercase);
    has_words && !is_short_name && !LONGER_TITLES.contains(&last_word)
}

/// Titles of more than two letters that are written with a dot.
const LONGER_TITLES: [&str; 10] = [
    "Mrs", "Prof", "Mme", "Mlle", "Sra", "Srta", "Dra", "Sig", "Dott", "Hrn",
];

/// Cuts a text into chunks of at most `max_characters` (at least 1) characters each, as few as fit.
///
/// A chunk ends at the last `. ! ?` that fits, else at the last `; :`, else at the last `,`, else at
/// the last white space, else between the last two words (UAX #29: scripts without spaces have such
/// boundaries too). Punctuation counts where white space follows (or, for full-width marks, always),
/// so `3.14` and `10:30` stay whole. A word that is longer than a chunk is a chunk of its own, the
/// only kind that exceeds the limit. The chunks put together are the text, white space included.
pub fn split(text: &str, max_characters: usize) -> Vec<&str> {
    let max_characters = max_characters.max(1);
    let mut chunks = Vec::new();
    let mut rest = text;
    while let Some((limit, _)) = rest.char_indices().nth(max_characters) {
        let (chunk, remaining) = rest.split_at(cut(rest, limit));
        chunks.push(chunk);
        rest = remaining;
    }
    if !rest.is_empty() {
        chunks.push(rest);
    }
    chunks
}

/// Where the first chunk of `text` ends: in 1..=`limit`, a character boundary, or behind a longer word.
fn cut(text: &str, limit: usize) -> usize {
    let mut best: Option<(Strength, usize)> = None;
    let mut characters = text[..limit].char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let Some(strength) = Strength::of(c) else {
            continue;
        };
        let mut end = at + c.len_utf8();
        // Quotes and brackets that close with the sentence stay with it, and so does the white space.
        while let Some((at, next)) =
            characters.next_if(|(_, next)| strength != Strength::Space && is_closing(*next))
        {
            end = at + next.len_utf8();
        }
        let is_boundary = strength == Strength::Space
            || is_full_width(c)
            || text[end..].chars().next().is_none_or(char::is_whitespace);
        while let Some((at, next)) = characters.next_if(|(_, next)| next.is_whitespace()) {
            end = at + next.len_utf8();
        }
        if is_boundary && best.is_none_or(|(best, _)| strength >= best) {
            best = Some((strength, end));
        }
    }
    match best {
        Some((_, end)) => end,
        None => word_end(text, limit),
    }
}

/// The last end of a word at `limit` or before it, or the end of the first word when that is longer.
fn word_end(text: &str, limit: usize) -> usize {
    let mut ends = text
        .split_word_bound_indices()
        .map(|(at, word)| at + word.len());
    let first = ends.next().unwrap_or(limit);
    ends.take_while(|end| *end <= limit).last().unwrap_or(first)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Space,
    Comma,
    Clause,
    Sentence,
}

impl Strength {
    fn of(c: char) -> Option<Self> {
        match c {
            '.' | '!' | '?' | '…' | '。' | '！' | '？' | '؟' | '।' | '۔' => {
                Some(Self::Sentence)
            }
            ';' | ':' | '；' | '：' | '؛' => Some(Self::Clause),
            ',' | '，' | '、' | '،' => Some(Self::Comma),
            c if c.is_whitespace() => Some(Self::Space),
            _ => None,
        }
    }
}

fn is_full_width(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '；' | '：' | '，' | '、')
}

fn is_closing(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | ')' | ']' | '}' | '»' | '”' | '’' | '」' | '』' | '）' | '.' | '!' | '?'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_strongest_boundary_that_fits_is_taken() {
        assert_eq!(
            split("Un. Deux, trois quatre", 22),
            ["Un. Deux, trois quatre"]
        );
        assert_eq!(
            split("Un. Deux, trois quatre", 12),
            ["Un. ", "Deux, ", "trois quatre"]
        );
        assert_eq!(
            split("un deux; trois, quatre", 16),
            ["un deux; ", "trois, quatre"]
        );
        assert_eq!(
            split("un deux, trois quatre", 16),
            ["un deux, ", "trois quatre"]
        );
        assert_eq!(split("un deux trois", 9), ["un deux ", "trois"]);
        assert_eq!(split("« Oui ! » Non !", 12), ["« Oui ! ", "» Non !"]);
    }

    #[test]
    fn sentences_are_told_apart() {
        for (text, expected) in [
            (
                "Hello my friend. How are you?",
                vec!["Hello my friend. ", "How are you?"],
            ),
            (
                "Mr. Harlow met Dr. Okafor. They left.",
                vec!["Mr. Harlow met Dr. Okafor. ", "They left."],
            ),
            (
                "It was 21.5 °C, i.e. warm. Yes!",
                vec!["It was 21.5 °C, i.e. warm. ", "Yes!"],
            ),
            ("你好。今天天气很好。", vec!["你好。", "今天天气很好。"]),
            (
                "see you soon. bring cake etc. and tea",
                vec!["see you soon. ", "bring cake etc. and tea"],
            ),
            ("  ", vec!["  "]),
            ("", vec![]),
        ] {
            assert_eq!(sentences(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_and_words_stay_whole() {
        assert_eq!(
            split("pi vaut 3.14159 à 10:30", 16),
            ["pi vaut 3.14159 ", "à 10:30"]
        );
        assert_eq!(
            split("oui anticonstitution, non", 6),
            ["oui ", "anticonstitution", ", non"]
        );
        assert_eq!(
            split("e\u{301}e\u{301}e\u{301} a", 3),
            ["e\u{301}e\u{301}e\u{301}", " a"]
        );
    }

    #[test]
    fn scripts_without_spaces_are_cut_at_their_marks() {
        assert_eq!(
            split("你好。今天天气很好，我们走吧", 9),
            ["你好。", "今天天气很好，", "我们走吧"]
        );
        assert_eq!(split("今天天气很好", 4), ["今天天气", "很好"]);
        assert_eq!(split("ผมเพิ่งออก", 5), ["ผมเ", "พิ่งอ", "อก"]);
    }

    proptest! {
        #[test]
        fn chunks_are_short_and_join_to_the_text(
            text in r"([a-zé .!?;:,。\n«»()\x{301}]|\PC){0,120}",
            max_characters in 1_usize..30,
        ) {
            prop_assert_eq!(sentences(&text).concat(), text.as_str());
            let chunks = split(&text, max_characters);
            prop_assert_eq!(chunks.concat(), text.as_str());
            let mut at = 0;
            for chunk in chunks {
                prop_assert!(!chunk.is_empty());
                let is_one_word = chunk.split_word_bounds().count() == 1;
                prop_assert!(chunk.chars().count() <= max_characters || is_one_word);
                at += chunk.len();
                let is_inside_word = at < text.len()
                    && text[..at].ends_with(char::is_alphanumeric)
                    && text[at..].starts_with(char::is_alphanumeric)
                    && !text.split_word_bound_indices().any(|(start, _)| start == at);
                prop_assert!(!is_inside_word, "cut inside a word");
            }
        }
    }
}
