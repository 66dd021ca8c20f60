//! Korean in Latin letters: XTTS has no tokens for Hangul.

const INITIALS: [&str; 19] = [
    "g", "kk", "n", "d", "tt", "l", "m", "b", "pp", "s", "ss", "", "j", "jj", "ch", "k", "t", "p",
    "h",
];

const VOWELS: [&str; 21] = [
    "a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o", "wa", "wae", "oe", "yo", "u", "wo", "we",
    "wi", "yu", "eu", "ui", "i",
];

const FINALS: [&str; 28] = [
    "", "g", "kk", "gs", "n", "nj", "nh", "d", "l", "lg", "lm", "lb", "ls", "lt", "lp", "lh", "m",
    "b", "bs", "s", "ss", "ng", "j", "ch", "k", "t", "p", "h",
];

/// The letters of one syllable.
struct Syllable {
    initial: &'static str,
    vowel: &'static str,
    last: &'static str,
}

/// Writes every syllable with the letters it is made of, by the Revised Romanization for academic
/// use: no sound changes, and a hyphen where the border of two syllables would not be clear.
pub(super) fn romanize(text: &str) -> String {
    let mut romanized = String::with_capacity(text.len());
    let mut before: Option<Syllable> = None;
    for character in text.chars() {
        let syllable = syllable(character);
        match &syllable {
            None => romanized.push(character),
            Some(Syllable {
                initial,
                vowel,
                last,
            }) => {
                if before.is_some_and(|before| needs_hyphen(before.last, initial)) {
                    romanized.push('-');
                }
                romanized.extend([*initial, vowel, last]);
            }
        }
        before = syllable;
    }
    romanized
}

/// Unicode composes the syllables from U+AC00 on: initial × 588 + vowel × 28 + final.
fn syllable(character: char) -> Option<Syllable> {
    let index = u32::from(character).checked_sub(0xAC00)? as usize;
    Some(Syllable {
        initial: INITIALS.get(index / 588)?,
        vowel: VOWELS.get(index / 28 % 21)?,
        last: FINALS.get(index % 28)?,
    })
}

/// Whether the consonants between two vowels could be parted in more than one way.
fn needs_hyphen(last: &str, initial: &str) -> bool {
    let consonants = format!("{last}{initial}");
    let ways = (0..consonants.len()).filter(|at| {
        let (last, initial) = consonants.split_at(*at);
        FINALS.contains(&last) && INITIALS.contains(&initial)
    });
    initial.is_empty() || ways.count() > 1
}

#[cfg(test)]
mod tests {
    use super::romanize;

    #[test]
    fn syllables_are_spelled_with_hyphens_where_needed() {
        for (hangul, latin) in [
            ("물엿", "mul-yeos"),
            ("값이 싸고 닭이 밟혀", "gabs-i ssago dalg-i balbhyeo"),
            ("잠깐… ㄱ abc", "jamkkan… ㄱ abc"),
            ("고양이", "go-yang-i"),
        ] {
            assert_eq!(romanize(hangul), latin);
        }
    }
}
