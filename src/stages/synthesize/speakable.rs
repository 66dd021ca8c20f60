//! What of a written text is said aloud.

use std::sync::LazyLock;

use regex::Regex;

/// Things that are read but not spoken: fenced code, then links.
static NOT_SPOKEN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?s)```.*?(?:```|\z)|\bhttps?://\S+|\bwww\.\S+").ok());

/// Emojis with all that may belong to them, and the joiners and selectors of a sequence.
static EMOJI: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?:[\p{Extended_Pictographic}\p{Regional_Indicator}]",
        r"[\u{FE0F}\u{20E3}\p{Emoji_Modifier}\u{E0020}-\u{E007F}]*\u{200D}?)+",
        r"|[\u{FE0E}\u{FE0F}\u{20E3}\p{Emoji_Modifier}]+",
    ))
    .ok()
});

/// The text without code blocks, links and emojis.
///
/// Each of them leaves a space, so that words do not join; the end of a link that ends a sentence
/// keeps the sentence's mark.
pub(super) fn speakable(text: &str) -> String {
    let mut spoken = text.to_owned();
    if let Some(not_spoken) = &*NOT_SPOKEN {
        spoken = not_spoken
            .replace_all(&spoken, |found: &regex::Captures<'_>| {
                let mark = found[0]
                    .chars()
                    .next_back()
                    .filter(|last| ".!?".contains(*last));
                mark.map_or_else(|| " ".to_owned(), |mark| mark.to_string())
            })
            .into_owned();
    }
    if let Some(emoji) = &*EMOJI {
        spoken = emoji.replace_all(&spoken, " ").into_owned();
    }
    spoken.trim().to_owned()
}

/// True when there is a letter or a digit to pronounce.
pub(super) fn is_pronounceable(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_code_and_emojis_are_left_out() {
        for (text, expected) in [
            ("Look at https://example.org/a?b=c now", "Look at   now"),
            ("It is here: https://example.org/a.", "It is here: ."),
            ("see www.example.org, please", "see   please"),
            ("run ```rust\nfn main() {}\n``` twice", "run   twice"),
            ("never closed ```fn main", "never closed"),
            ("Hi 👋🏽 there 👨‍👩‍👧!", "Hi   there  !"),
            ("flag 🇫🇷 end", "flag   end"),
            ("press 1️⃣ now", "press 1  now"),
            (
                "plain, 100 % text – no change…",
                "plain, 100 % text – no change…",
            ),
        ] {
            assert_eq!(speakable(text), expected, "{text}");
        }
    }

    #[test]
    fn joiners_of_other_scripts_stay() {
        // ZERO WIDTH JOINER and NON-JOINER spell words in Devanagari and Persian.
        let text = "क्\u{200D}ष می\u{200C}خواهم";
        assert_eq!(speakable(text), text);
    }

    #[test]
    fn only_letters_and_digits_are_pronounceable() {
        assert!(is_pronounceable("7!"));
        assert!(is_pronounceable("é"));
        assert!(!is_pronounceable("… — ?!"));
    }
}
