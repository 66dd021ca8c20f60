//! Text to units that a program may read: plain words, nothing that commands it.

use crate::domain::Language;
use crate::stages::synthesize::speakable::{is_pronounceable, speakable};
use crate::stages::synthesize::text::split_sentences;

/// Most characters of a unit: a few sentences, and half a minute of speech at most.
const MAX_UNIT_CHARACTERS: usize = 250;

/// Cuts a text into stretches that are spoken in one go, each as it is written.
pub(super) fn units(text: &str, language: Language) -> Vec<String> {
    pieces(&speakable(text), language, MAX_UNIT_CHARACTERS)
}

/// Cuts a unit further, into pieces of at most `limit` characters.
pub(super) fn pieces(text: &str, language: Language, limit: usize) -> Vec<String> {
    let mut pieces = split_sentences(text, language, limit);
    pieces.retain(|piece| is_pronounceable(piece));
    pieces
}

/// The text without what means more to espeak-ng than words.
///
/// It reads `[[…]]` as phonemes and control characters as commands that change its voice; a NUL ends
/// the text for it, and private characters are its own marks. Without the option `-m`, which is never
/// given, the brackets of SSML are read aloud as signs.
pub(super) fn plain(text: &str) -> String {
    let is_command = |character: char| {
        character.is_control()
            || matches!(character, '[' | ']' | '\u{FEFF}')
            || is_private_or_none(character)
    };
    text.chars()
        .map(|character| {
            if is_command(character) {
                ' '
            } else {
                character
            }
        })
        .collect()
}

/// Characters of private use, and code points that are no characters.
fn is_private_or_none(character: char) -> bool {
    let code = u32::from(character);
    (0xE000..=0xF8FF).contains(&code)
        || code >= 0xF_0000
        || (0xFDD0..=0xFDEF).contains(&code)
        || code & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_commands_the_program_becomes_space() {
        for (text, expected) in [
            ("[[h@'loU]] there", "  h@'loU   there"),
            ("a\u{1}20S b", "a 20S b"),
            ("cut\0here", "cut here"),
            ("line\nbreak\ttab\u{85}", "line break tab "),
            ("mark\u{E000}ed \u{FFFE}\u{10FFFF}", "mark ed   "),
            ("-v fr | <break/> & \"q\"", "-v fr | <break/> & \"q\""),
            ("Grüße, 世界! 👋", "Grüße, 世界! 👋"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }

    #[test]
    fn units_are_short_and_hold_every_word() {
        let text = "One two three. ".repeat(100);
        let units = units(&text, Language::ENGLISH);
        assert!(units.len() > 4);
        assert!(
            units
                .iter()
                .all(|unit| unit.chars().count() <= MAX_UNIT_CHARACTERS)
        );
        assert_eq!(units.join(" "), text.trim());
        assert_eq!(
            super::units("… 👋 https://example.org", Language::ENGLISH),
            Vec::<String>::new()
        );
    }

    proptest! {
        #[test]
        fn no_text_keeps_a_command(text in any::<String>()) {
            let plain = plain(&text);
            let is_plain = !plain.contains(['[', ']', '\0', '\n', '\u{1}']);
            prop_assert!(is_plain);
            prop_assert_eq!(plain.chars().count(), text.chars().count());
        }
    }
}
