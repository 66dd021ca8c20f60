//! Tells a translation from the nonsense that a model sometimes gives instead.

/// What is wrong with an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadOutput {
    /// Nothing, or white space only.
    #[error("the output is empty")]
    Empty,
    /// A bracketed message such as `[error: …]` for a text that is not bracketed.
    #[error("the output is a bracketed message")]
    Bracketed,
    /// The same words over and over.
    #[error("the output repeats itself")]
    Repetition,
    /// Far longer or far shorter than any translation of the text.
    #[error("the output's length does not fit the text")]
    Length,
    /// The model itself hardly believes it.
    #[error("the output's confidence is too low")]
    Confidence,
}

/// Limits beyond which an output is refused.
///
/// The least confidence is that of the service this daemon replaces. The other values are chosen far
/// beyond what a translation may need, to refuse only decoders in a loop: a unit that follows itself
/// nine times, for more characters than laughter takes and for most of the text; or a sentence many
/// times longer or shorter than its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputLimits {
    /// Least geometric mean of the tokens' probabilities, in 0..1; 0 turns the check off.
    pub min_confidence: f32,
    /// A unit of up to [`MAX_UNIT`] characters may follow itself this often, the first time included…
    pub max_repeats: usize,
    /// …in a run of at most this many characters, whatever the share of the text it takes.
    pub max_repeated_characters: usize,
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
            max_repeated_characters: 160,
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
    if is_bracketed(output) && !is_bracketed(source) {
        return Err(BadOutput::Bracketed);
    }
    if repeats_endlessly(output, limits) && !repeats_endlessly(source, limits) {
        return Err(BadOutput::Repetition);
    }
    let source_length = source.chars().count();
    let output_length = output.chars().count();
    if output_length > source_length * limits.max_growth + LENGTH_SLACK
        || source_length > output_length * limits.max_shrink + LENGTH_SLACK
    {
        return Err(BadOutput::Length);
    }
    if confidence.is_nan() || confidence < limits.min_confidence {
        return Err(BadOutput::Confidence);
    }
    Ok(())
}

fn is_bracketed(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('[') && text.ends_with(']')
}

/// True when one unit, repeated without a gap, makes up more than half of the text and exceeds both
/// limits on repetition.
fn repeats_endlessly(text: &str, limits: &OutputLimits) -> bool {
    let characters: Vec<char> = text.trim().chars().collect();
    let least = limits.max_repeated_characters.max(characters.len() / 2);
    if characters.len() <= least {
        return false;
    }
    (1..=MAX_UNIT).any(|unit| {
        // A run of n characters equal to the one `unit` before them is n + unit characters long.
        let mut equal = 0;
        characters
            .iter()
            .zip(characters.iter().skip(unit))
            .any(|(earlier, later)| {
                equal = if earlier == later { equal + 1 } else { 0 };
                equal + unit > least && (equal + unit) / unit > limits.max_repeats
            })
    })
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
            (
                "今天天气很好我们一起去公园散步吧",
                "The weather is lovely today, let us go for a walk in the park",
            ),
        ] {
            assert_eq!(checked(source, output), Ok(()), "{source}");
        }
        let laughter = "ha ".repeat(100);
        assert_eq!(checked(&laughter, &laughter), Ok(()));
    }

    #[test]
    fn nonsense_is_refused() {
        let source = "Je serai en retard de dix minutes, commencez sans moi.";
        for (output, expected) in [
            (String::new(), BadOutput::Empty),
            (" \n".to_owned(), BadOutput::Empty),
            ("[translation error]".to_owned(), BadOutput::Bracketed),
            (
                "I will be late ".to_owned() + &"of the ".repeat(40),
                BadOutput::Repetition,
            ),
            ("!".repeat(400), BadOutput::Repetition),
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
}
