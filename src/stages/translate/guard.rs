//! Tells a translation from the nonsense that a model sometimes gives instead.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use super::structure::constant_pattern;

/// What is wrong with an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadOutput {
    /// Nothing, or white space only.
    #[error("the output is empty")]
    Empty,
    /// A bracketed message such as `[error: …]`, or text behind one, for a text that has none.
    #[error("the output is a bracketed message")]
    Bracketed,
    /// The same words over and over.
    #[error("the output repeats itself")]
    Repetition,
    /// Far longer or far shorter than any translation of the text.
    #[error("the output's length does not fit the text")]
    Length,
    /// A number of the text is not in the output as it was written.
    #[error("a number is missing in the output")]
    Number,
    /// The model itself hardly believes it.
    #[error("the output's confidence is too low")]
    Confidence,
}

/// Limits beyond which an output is refused.
///
/// The least confidence is that of the service this daemon replaces. The other values are chosen far
/// beyond what a translation may need, to refuse only decoders in a loop: a unit that follows itself
/// nine times and makes up most of the text, for longer than laughter takes where the source laughs
/// too; or a sentence many times longer or shorter than its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputLimits {
    /// Least geometric mean of the tokens' probabilities, in 0..1; 0 turns the check off.
    pub min_confidence: f32,
    /// A unit of up to [`MAX_UNIT`] characters may follow itself this often, the first time included…
    pub max_repeats: usize,
    /// …or in a run of at most this many characters…
    pub max_loop_characters: usize,
    /// …or of this many where most of the source is such a run, of any length, too.
    pub max_echo_characters: usize,
    /// Output characters per source character at most, beyond [`LENGTH_SLACK`].
    pub max_growth: usize,
    /// Source characters per output character at most, beyond [`LENGTH_SLACK`].
    pub max_shrink: usize,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self {
            min_confidence: 0.1,
            max_repeats: 8,
            max_loop_characters: 100,
            max_echo_characters: 160,
            max_growth: 8,
            max_shrink: 12,
        }
    }
}

/// Longest unit of a repetition, in characters.
pub const MAX_UNIT: usize = 80;

/// Characters that short texts may gain or lose beyond the length limits.
pub const LENGTH_SLACK: usize = 80;

/// Checks what a model made of `source`. Linear in the lengths (times [`MAX_UNIT`]).
///
/// # Errors
/// The first thing that is wrong with the output.
pub fn check(
    source: &str,
    output: &str,
    confidence: f32,
    limits: &OutputLimits,
) -> Result<(), BadOutput> {
    if output.trim().is_empty() {
        return Err(BadOutput::Empty);
    }
    if is_bracketed_message(output) && !is_bracketed_message(source) {
        return Err(BadOutput::Bracketed);
    }
    if repeats_endlessly(source, output, limits) {
        return Err(BadOutput::Repetition);
    }
    let source_length = source.chars().count();
    let output_length = output.chars().count();
    if output_length > source_length * limits.max_growth + LENGTH_SLACK
        || source_length > output_length * limits.max_shrink + LENGTH_SLACK
    {
        return Err(BadOutput::Length);
    }
    if !keeps_numbers(source, output) {
        return Err(BadOutput::Number);
    }
    if confidence.is_nan() || confidence < limits.min_confidence {
        return Err(BadOutput::Confidence);
    }
    Ok(())
}

/// True for `[anything]`, and for `[error] anything`.
fn is_bracketed_message(text: &str) -> bool {
    let Some(rest) = text.trim().strip_prefix('[') else {
        return false;
    };
    let message = rest.split(']').next().unwrap_or_default().to_lowercase();
    let is_error = ["error", "fail", "fallback", "unavailable"]
        .iter()
        .any(|word| message.contains(word));
    rest.ends_with(']') || is_error
}

/// True when every number of the source is in the output, as often as there; their order is the
/// grammar's.
fn keeps_numbers(source: &str, output: &str) -> bool {
    let mut missing: HashMap<&str, usize> = HashMap::new();
    for number in DIGITS.find_iter(source) {
        *missing.entry(number.as_str()).or_default() += 1;
    }
    if missing.is_empty() {
        return true;
    }
    for number in DIGITS.find_iter(output) {
        if let Some(count) = missing.get_mut(number.as_str()) {
            *count = count.saturating_sub(1);
        }
    }
    missing.into_values().all(|count| count == 0)
}

/// Cuts a text before and behind its numbers, with the signs and letters that are written together
/// with one (`-5`, `10h30`, `mp3`); true marks the numbers. Put together the pieces are the text.
pub fn around_numbers(text: &str) -> Vec<(&str, bool)> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for number in NUMBER.find_iter(text) {
        if start < number.start() {
            pieces.push((&text[start..number.start()], false));
        }
        pieces.push((number.as_str(), true));
        start = number.end();
    }
    if start < text.len() {
        pieces.push((&text[start..], false));
    }
    pieces
}

/// Digits with what separates them inside a number, a time or a date.
static DIGITS: LazyLock<Regex> = LazyLock::new(|| constant_pattern(r"\d+(?:[.,:/-]\d+)*"));

/// [`DIGITS`] with signs and ASCII letters around them. Other letters need no space before a number, so
/// they may be a sentence.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    constant_pattern(r"[-+−±$€£¥]?[A-Za-z]*\d[A-Za-z\d]*(?:[.,:/-]\d[A-Za-z\d]*)*[%‰°$€£¥]?")
});

/// True when the output is a loop, and the source none of that length.
fn repeats_endlessly(source: &str, output: &str, limits: &OutputLimits) -> bool {
    let Some(length) = longest_loop(output, limits.max_repeats) else {
        return false;
    };
    let may_echo = longest_loop(source, MIN_ECHO_REPEATS - 1).is_some();
    if !may_echo {
        return length > limits.max_loop_characters;
    }
    let is_long = |length| length > limits.max_echo_characters;
    is_long(length) && !longest_loop(source, limits.max_repeats).is_some_and(is_long)
}

/// A source that says something three times may be echoed more often.
const MIN_ECHO_REPEATS: usize = 3;

/// Characters of the longest run in which one unit follows itself more than `max_repeats` times without a
/// gap, if that is more than half of the text.
fn longest_loop(text: &str, max_repeats: usize) -> Option<usize> {
    let characters: Vec<char> = text.trim().chars().collect();
    let mut longest = 0;
    for unit in 1..=MAX_UNIT {
        // A run of n characters equal to the one `unit` before them is n + unit characters long.
        let mut equal = 0;
        for (earlier, later) in characters.iter().zip(characters.iter().skip(unit)) {
            equal = if earlier == later { equal + 1 } else { 0 };
            if (equal + unit) / unit > max_repeats {
                longest = longest.max(equal + unit);
            }
        }
    }
    (longest > characters.len() / 2).then_some(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(source: &str, output: &str) -> Result<(), BadOutput> {
        check(source, output, 0.5, &OutputLimits::default())
    }

    #[test]
    fn translations_pass() {
        for (source, output) in [
            ("Bonjour", "Good morning to all of you"),
            (
                "ha ha ha ha ha ha ha ha ha ha ha",
                "ha ha ha ha ha ha ha ha ha ha ha",
            ),
            ("[sic] dit-il [sic]", "[sic] he says [sic]"),
            ("dit-il [sic]", "[as is] he says"),
            (
                "le 5 à 10:30, 2 fois 2",
                "twice 2 2 times at 10:30 on the 5th, 7",
            ),
            ("deux", "2"),
            (
                "今天天气很好我们一起去公园散步吧",
                "The weather is lovely today, let us go for a walk in the park",
            ),
        ] {
            assert_eq!(checked(source, output), Ok(()), "{source}");
        }
        let laughter = "ha ".repeat(100);
        assert_eq!(checked(&laughter, &laughter), Ok(()));
        assert_eq!(checked("jajajaja", &"ha".repeat(40)), Ok(()));
        assert_eq!(
            checked("no!!!!!!!!!", &format!("non{}", "!".repeat(60))),
            Ok(())
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let source = "Je serai en retard de dix minutes, commencez sans moi.";
        for (output, expected) in [
            (String::new(), BadOutput::Empty),
            (" \n".to_owned(), BadOutput::Empty),
            ("[translation error]".to_owned(), BadOutput::Bracketed),
            ("[Fallback] Je serai".to_owned(), BadOutput::Bracketed),
            (
                "I will be late ".to_owned() + &"of the ".repeat(40),
                BadOutput::Repetition,
            ),
            ("!".repeat(400), BadOutput::Repetition),
            ("of the ".repeat(16), BadOutput::Repetition),
            ("的".repeat(101), BadOutput::Repetition),
            (
                ("a b c d e f g h i j k ".repeat(2) + source).repeat(6),
                BadOutput::Length,
            ),
        ] {
            assert_eq!(checked(source, &output), Err(expected));
        }
        assert_eq!(checked(&source.repeat(4), "I"), Err(BadOutput::Length));
        let strict = OutputLimits {
            min_confidence: 0.1,
            ..OutputLimits::default()
        };
        assert_eq!(
            check("oui", "yes", 0.09, &strict),
            Err(BadOutput::Confidence)
        );
        assert_eq!(
            check("oui", "yes", f32::NAN, &strict),
            Err(BadOutput::Confidence)
        );
        assert_eq!(check("oui", "yes", 0.1, &strict), Ok(()));
    }

    #[test]
    fn numbers_stay_as_they_were_written() {
        for (source, output) in [
            ("3.50 euros", "3,50 euros"),
            ("2 et 2", "2 and two"),
            ("à 10:30", "at half past ten"),
            ("il a 12 ans", "he is 120 years old"),
        ] {
            assert_eq!(checked(source, output), Err(BadOutput::Number), "{source}");
        }
        let pieces = around_numbers("vers 10h30 (le 3/4), mp3 n°5 -2% 我有3个");
        let expected = [
            ("vers ", false),
            ("10h30", true),
            (" (le ", false),
            ("3/4", true),
            ("), ", false),
            ("mp3", true),
            (" n°", false),
            ("5", true),
            (" ", false),
            ("-2%", true),
            (" 我有", false),
            ("3", true),
            ("个", false),
        ];
        assert_eq!(pieces, expected);
    }
}
