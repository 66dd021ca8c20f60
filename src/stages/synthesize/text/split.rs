//! A long text in pieces that the model can speak in one go.

use unicode_segmentation::UnicodeSegmentation;

use crate::domain::Language;

use super::rules::{AbbreviationEnd, LanguageRules, OrdinalDot, rules};

/// Splits a text into pieces of at most `limit` characters (code points).
///
/// A piece ends, in order of preference, where a sentence ends, after a comma or the like in its
/// second half, at white space, or between two user-perceived characters; each as late as the limit
/// allows. Only a user-perceived character that is longer than the limit itself is cut inside.
/// Nothing but white space round the pieces is lost; a text without anything else has no pieces.
pub fn split_sentences(text: &str, language: Language, limit: usize) -> Vec<String> {
    let rules = rules(language.as_str());
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(piece_end(rest, rules, limit.max(1)));
        pieces.push(piece.trim_end().to_owned());
        rest = after.trim_start();
    }
    pieces
}

/// Where the first piece of `text` ends, in bytes.
fn piece_end(text: &str, rules: Option<&LanguageRules>, limit: usize) -> usize {
    let Some((limit_at, _)) = text.char_indices().nth(limit) else {
        return text.len();
    };
    let cuts: Vec<usize> = text
        .grapheme_indices(true)
        .map(|(at, _)| at)
        .skip(1)
        .take_while(|at| *at <= limit_at)
        .collect();
    let last_cut = |is_good: &dyn Fn(&str, &str) -> bool| {
        cuts.iter().copied().rev().find(|at| {
            let (before, after) = text.split_at(*at);
            is_good(before, after)
        })
    };
    last_cut(&|before, after| ends_sentence(before, after, rules))
        .or_else(|| last_cut(&ends_clause).filter(|at| *at > limit_at / 2))
        .or_else(|| last_cut(&|_, after| after.starts_with(char::is_whitespace)))
        .or_else(|| cuts.last().copied())
        .unwrap_or(limit_at)
}

fn ends_sentence(before: &str, after: &str, rules: Option<&LanguageRules>) -> bool {
    if !after.starts_with(char::is_whitespace) {
        // Only scripts without spaces go on at once; the last of several marks counts.
        let before = before.trim_end_matches(is_closing);
        return before.ends_with(is_wide_mark)
            && !after.starts_with(|next| is_closing(next) || is_wide_mark(next));
    }
    let before = before.trim_end_matches(|mark| is_closing(mark) || is_ambiguous_quote(mark));
    match before.chars().next_back() {
        Some('!' | '?' | '؟' | '۔' | '।' | '॥') => true,
        Some('…') => !continues(after),
        Some('.') => !continues(after) && !is_short_form(before.trim_end_matches('.'), rules),
        Some(mark) => is_wide_mark(mark),
        None => false,
    }
}

/// A sentence does not start with a small letter.
fn continues(after: &str) -> bool {
    after.trim_start().starts_with(char::is_lowercase)
}

/// Whether the dot belongs to the last word: an abbreviation, an initial or an ordinal number.
fn is_short_form(before_dot: &str, rules: Option<&LanguageRules>) -> bool {
    let word = before_dot
        .rsplit(|character: char| !character.is_alphanumeric())
        .next()
        .unwrap_or_default();
    let mut characters = word.chars();
    if characters.next().is_some_and(char::is_alphabetic) && characters.next().is_none() {
        return true;
    }
    let Some(rules) = rules else {
        return false;
    };
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return rules.ordinal_dot != OrdinalDot::Never || rules.ordinal_suffixes.contains(&".");
    }
    rules.abbreviation_end == AbbreviationEnd::Dot
        && rules
            .abbreviations
            .iter()
            .any(|(short, _)| *short == word.to_lowercase())
}

fn ends_clause(before: &str, after: &str) -> bool {
    match before.trim_end_matches(is_closing).chars().next_back() {
        Some('，' | '、' | '；' | '：') => !after.starts_with(is_closing),
        Some(',' | ';' | ':' | '–' | '—' | '،' | '؛') => {
            after.starts_with(char::is_whitespace)
        }
        _ => false,
    }
}

/// Marks that end a sentence without a space after them.
fn is_wide_mark(character: char) -> bool {
    matches!(character, '。' | '！' | '？' | '｡')
}

/// Quotation marks and brackets that belong to what precedes them.
fn is_closing(character: char) -> bool {
    matches!(
        character,
        '”' | '’' | '»' | '›' | ')' | ']' | '}' | '」' | '』' | '）' | '】'
    )
}

/// Quotation marks that close in some languages or places and open in others.
fn is_ambiguous_quote(character: char) -> bool {
    matches!(character, '"' | '\'' | '“' | '‘' | '«' | '‹')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str, language: &str, limit: usize) -> Vec<String> {
        split_sentences(text, Language::parse(language).unwrap(), limit)
    }

    #[test]
    fn sentences_are_packed_up_to_the_limit() {
        assert_eq!(
            split("One. Two! Three? Four.", "en", 12),
            ["One. Two!", "Three? Four."]
        );
        assert_eq!(split("  below the limit  ", "en", 100), ["below the limit"]);
        assert_eq!(
            split("今天。明天！“后天。”大后天", "zh", 6),
            ["今天。明天！", "“后天。”", "大后天"]
        );
        assert_eq!(split("एक। दो। तीन।", "hi", 7), ["एक। दो।", "तीन।"]);
        assert_eq!(split(" \n ", "en", 5), Vec::<String>::new());
    }

    #[test]
    fn a_dot_inside_a_sentence_does_not_end_it() {
        assert_eq!(
            split("So. Dr. Finch met J. Reed.", "en", 20),
            ["So.", "Dr. Finch met J.", "Reed."]
        );
        assert_eq!(
            split("Gut. Am 3. Mai um 9 Uhr.", "de", 20),
            ["Gut.", "Am 3. Mai um 9 Uhr."]
        );
        assert_eq!(
            split("Well... at 3 p.m. it rained. Yes.", "en", 30),
            ["Well... at 3 p.m. it rained.", "Yes."]
        );
    }

    #[test]
    fn a_long_sentence_is_cut_at_a_comma_then_at_white_space_then_anywhere() {
        assert_eq!(
            split("one two three, four five", "en", 18),
            ["one two three,", "four five"]
        );
        assert_eq!(
            split("one two three four five", "en", 15),
            ["one two three", "four five"]
        );
        assert_eq!(split("abcdefgh", "en", 3), ["abc", "def", "gh"]);
        // A family is one character to its reader, and a flag another.
        let family = "👨\u{200d}👩\u{200d}👧";
        assert_eq!(
            split(&format!("a{family}🇫🇷b"), "en", 6),
            [format!("a{family}"), "🇫🇷b".to_owned()]
        );
        assert_eq!(split(family, "en", 2), ["👨\u{200d}", "👩\u{200d}", "👧"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_piece_is_too_long(text in "[ \\n.,!?…。a-cé\u{301}日1-3👩\u{200d}\"]{0,80}", limit in 1_usize..20) {
            let pieces = split(&text, "de", limit);
            let visible = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(visible(&pieces.concat()), visible(&text));
            for piece in &pieces {
                prop_assert!(!piece.is_empty() && piece.chars().count() <= limit, "{:?}", piece);
            }
        }
    }
}
