//! Phonemes as a Piper voice takes them: espeak-ng's, with the punctuation that it leaves out.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization as _;

/// Marks the beginning of an utterance.
const BEGIN: char = '^';
/// Marks its end.
const END: char = '$';
/// Stands between any two.
const PAD: char = '_';

/// A stretch of text up to a mark, and the mark as the model knows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clause<'a> {
    pub(super) text: &'a str,
    pub(super) mark: Option<char>,
}

/// Cuts a unit after its marks. espeak-ng makes pauses of them and does not say which; the model has
/// learned to read them.
pub(super) fn clauses(text: &str) -> Vec<Clause<'_>> {
    let mut clauses = Vec::new();
    let mut start = 0;
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        let Some(mark) = mark(character) else {
            continue;
        };
        // A dot or comma inside a number or a word is no end; scripts without spaces have other marks.
        let goes_on = text[end..].starts_with(|next: char| next.is_alphanumeric());
        if character.is_ascii() && goes_on {
            continue;
        }
        clauses.push(Clause {
            text: &text[start..at],
            mark: Some(mark),
        });
        start = end;
    }
    clauses.push(Clause {
        text: &text[start..],
        mark: None,
    });
    clauses.retain(|clause| clause.text.chars().any(char::is_alphanumeric));
    clauses
}

/// The mark that the models know for one of any script.
fn mark(character: char) -> Option<char> {
    Some(match character {
        '.' | '。' | '｡' | '…' | '।' | '॥' | '۔' | '።' => '.',
        '!' | '！' => '!',
        '?' | '？' | '؟' => '?',
        ',' | '，' | '、' | '،' | '፣' => ',',
        ';' | '；' | '؛' => ';',
        ':' | '：' => ':',
        _ => return None,
    })
}

/// Adds a clause to the phonemes of a unit: what espeak-ng said of it, without its marks for words of
/// another language, such as `(en)`, and the clause's own mark.
pub(super) fn append(phonemes: &mut String, spelled: &str, mark: Option<char>) {
    if !phonemes.is_empty() {
        phonemes.push(' ');
    }
    let mut depth = 0_usize;
    for character in spelled.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => phonemes.push(character),
            _ => {}
        }
    }
    phonemes.extend(mark);
}

/// The ids of an utterance: begin, pad, then each phoneme with a pad behind it, end. Phonemes are single
/// code points, accents apart; those that the model does not know are left out, as Piper leaves them.
///
/// Empty when the model knows none of them.
pub(super) fn ids(phonemes: &str, known: &HashMap<char, Vec<i64>>) -> Vec<i64> {
    let of = |symbol: char| known.get(&symbol).into_iter().flatten().copied();
    let spelled: Vec<char> = phonemes
        .nfd()
        .filter(|symbol| known.contains_key(symbol) && ![BEGIN, END, PAD].contains(symbol))
        .collect();
    if !spelled.iter().any(|symbol| symbol.is_alphanumeric()) {
        return Vec::new();
    }
    let mut ids: Vec<i64> = of(BEGIN).chain(of(PAD)).collect();
    for symbol in spelled {
        ids.extend(of(symbol).chain(of(PAD)));
    }
    ids.extend(of(END));
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(&str, Option<char>)> {
        clauses(text)
            .into_iter()
            .map(|clause| (clause.text.trim(), clause.mark))
            .collect()
    }

    #[test]
    fn units_are_cut_after_their_marks() {
        assert_eq!(
            cut("Ciao, come stai? Bene"),
            [
                ("Ciao", Some(',')),
                ("come stai", Some('?')),
                ("Bene", None)
            ]
        );
        assert_eq!(
            cut("At 3.14, or 1,000: x.org!"),
            [
                ("At 3.14", Some(',')),
                ("or 1,000", Some(':')),
                ("x.org", Some('!')),
            ]
        );
        assert_eq!(
            cut("你好，世界。再见"),
            [("你好", Some(',')), ("世界", Some('.')), ("再见", None),]
        );
        assert_eq!(cut("What?!... "), [("What", Some('?'))]);
        assert_eq!(cut("… !"), []);
    }

    #[test]
    fn words_of_other_languages_are_not_marked() {
        let mut phonemes = String::new();
        append(&mut phonemes, "tʃˈao", Some(','));
        append(&mut phonemes, "(en)həlˈəʊ(it) a", Some('.'));
        assert_eq!(phonemes, "tʃˈao, həlˈəʊ a.");
    }

    #[test]
    fn ids_are_those_of_piper() {
        let known: HashMap<char, Vec<i64>> = [
            ('_', 0),
            ('^', 1),
            ('$', 2),
            (' ', 3),
            ('.', 10),
            ('a', 14),
            ('o', 27),
            ('ˈ', 120),
            ('\u{303}', 141),
        ]
        .map(|(symbol, id)| (symbol, vec![id]))
        .into();
        // õ is an o with a tilde, x is not known.
        assert_eq!(
            ids("ˈax õ.", &known),
            [1, 0, 120, 0, 14, 0, 3, 0, 27, 0, 141, 0, 10, 0, 2]
        );
        assert_eq!(ids("xyz.", &known), Vec::<i64>::new());
        assert_eq!(ids("^_$", &known), Vec::<i64>::new());
    }
}
