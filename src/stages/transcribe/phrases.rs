//! Cuts words into the segments that are published.

use super::words::{Word, join, mean_probability};
use crate::domain::{Language, Segment};

/// Most words of a segment (contract/rules.md, section 2).
const MAX_WORDS: usize = 8;
/// Shortest silence between two words that ends a segment.
pub(super) const MIN_PAUSE_MS: u64 = 300;
/// Words that a segment has at least before a comma ends it.
const MIN_WORDS_BEFORE_COMMA: usize = 3;

/// Cuts the words of one utterance at pauses and punctuation, and what is still longer than eight
/// words into equal parts.
///
/// Text without spaces is cut at pauses and punctuation only: segments are joined with a space in
/// the full text, which would stand within a word there.
pub(super) fn segments(words: &[Word], language: Language) -> Vec<Segment> {
    natural_phrases(words)
        .into_iter()
        .flat_map(equal_parts)
        .map(|part| segment(part, language))
        .collect()
}

fn natural_phrases(words: &[Word]) -> Vec<&[Word]> {
    let mut phrases = Vec::new();
    let mut start = 0;
    for end in 1..words.len() {
        let (last, next) = (&words[end - 1], &words[end]);
        let pause = next.start_ms.saturating_sub(last.end_ms) >= MIN_PAUSE_MS;
        let clause = ends_clause(&last.text) && end - start >= MIN_WORDS_BEFORE_COMMA;
        if pause || clause || ends_sentence(&last.text) {
            phrases.push(&words[start..end]);
            start = end;
        }
    }
    phrases.push(&words[start..]);
    phrases
}

fn ends_sentence(word: &str) -> bool {
    word.ends_with(['.', '!', '?', '…', '。', '！', '？', '।', '؟', '።', '۔'])
}

fn ends_clause(word: &str) -> bool {
    word.ends_with([',', ';', ':', '，', '、', '；', '：', '،', '؛', '፣'])
}

fn equal_parts(phrase: &[Word]) -> Vec<&[Word]> {
    let spaced = |words: &[Word]| words.iter().filter(|word| !word.glued).count();
    let count = spaced(phrase);
    let per_part = count.div_ceil(count.div_ceil(MAX_WORDS).max(1));
    let mut parts = Vec::new();
    let mut start = 0;
    for end in 1..phrase.len() {
        if !phrase[end].glued && spaced(&phrase[start..end]) == per_part {
            parts.push(&phrase[start..end]);
            start = end;
        }
    }
    parts.push(&phrase[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

fn segment(words: &[Word], language: Language) -> Segment {
    Segment {
        text: join(words).into(),
        start_ms: words.first().map_or(0, |word| word.start_ms),
        end_ms: words.last().map_or(0, |word| word.end_ms),
        confidence: Some(mean_probability(words)),
        speaker_id: None,
        voice_similarity_score: None,
        language: Some(language),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of 100 ms each; `|` is a pause, `+` glues.
    fn words(text: &str) -> Vec<Word> {
        let mut at = 0;
        let mut words = Vec::new();
        for text in text.split(' ') {
            if text == "|" {
                at += MIN_PAUSE_MS;
                continue;
            }
            words.push(Word {
                text: text.trim_start_matches('+').to_owned(),
                glued: text.starts_with('+'),
                start_ms: at,
                end_ms: at + 100,
                tokens: 2,
                probability_sum: 1.5,
            });
            at += 100;
        }
        words
    }

    fn texts(text: &str) -> Vec<String> {
        let segments = segments(&words(text), Language::FRENCH);
        segments
            .into_iter()
            .map(|segment| segment.text.into_exposed())
            .collect()
    }

    #[test]
    fn phrases_end_at_pauses_and_punctuation() {
        assert_eq!(
            texts("oui, d'accord | je viens. à ce soir"),
            ["oui, d'accord", "je viens.", "à ce soir"]
        );
        assert_eq!(
            texts("quand tu veux, je viens"),
            ["quand tu veux,", "je viens"]
        );
    }

    #[test]
    fn long_phrases_become_equal_parts() {
        assert_eq!(texts("a b c d e f g h"), ["a b c d e f g h"]);
        assert_eq!(texts("a b c d e f g h i"), ["a b c d e", "f g h i"]);
        assert_eq!(texts("a b c d e f g h i j k l m n o p q").len(), 3);
    }

    #[test]
    fn text_without_spaces_is_cut_at_punctuation_only() {
        assert_eq!(
            texts("一 +二 +三 +四 +五 +六 +七 +八 +九 +十。 +一"),
            ["一二三四五六七八九十。", "一"]
        );
    }

    #[test]
    fn segments_carry_time_and_confidence() {
        let segments = segments(&words("a b | c"), Language::FRENCH);
        assert_eq!((segments[0].start_ms, segments[0].end_ms), (0, 200));
        assert_eq!((segments[1].start_ms, segments[1].end_ms), (500, 600));
        assert_eq!(segments[0].confidence, Some(0.75));
    }
}
