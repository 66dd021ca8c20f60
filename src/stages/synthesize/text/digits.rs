//! Decimal digits of other scripts.

/// The zeros of the scripts that a text may mix with ours: ASCII, Arabic, Persian, Devanagari, Bengali,
/// Thai, full width. Unicode has the digits of a script in a row.
const ZEROS: [u32; 7] = [0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0xFF10];

/// The value of a decimal digit.
pub(super) fn digit_value(character: char) -> Option<u32> {
    ZEROS
        .iter()
        .filter_map(|zero| u32::from(character).checked_sub(*zero))
        .find(|value| *value < 10)
}

/// Writes all digits in ASCII.
pub(super) fn in_ascii(text: &str) -> String {
    let ascii = |character| digit_value(character).and_then(|value| char::from_digit(value, 10));
    text.chars()
        .map(|character| ascii(character).unwrap_or(character))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_other_scripts_are_known() {
        assert_eq!(in_ascii("a9٣۴५７z"), "a93457z");
        assert_eq!(digit_value('²'), None);
        assert_eq!(digit_value('三'), None);
    }
}
