//! Words with times, put together from Whisper's tokens.

/// Furthest that a pause may lie from the estimated gap between two words to be taken for it.
const PAUSE_REACH_MS: u64 = 500;

/// A stretch of speech as Whisper delimits it, at most one window of 30 s.
pub(super) struct Utterance {
    pub(super) words: Vec<Word>,
    pub(super) start_ms: u64,
    pub(super) end_ms: u64,
    /// Probability in 0..1 that nobody speaks in the window.
    pub(super) no_speech_probability: f32,
}

/// What is written between two spaces, or one or few characters of a script without spaces.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    /// Without surrounding space.
    pub(super) text: String,
    /// True when no space stands between this word and the one before.
    pub(super) glued: bool,
    pub(super) start_ms: u64,
    pub(super) end_ms: u64,
    pub(super) tokens: u32,
    /// Sum of the probabilities of the tokens.
    pub(super) probability_sum: f32,
}

/// Mean probability in 0..1 of the tokens of some words; 0 without words.
pub(super) fn mean_probability<'a>(words: impl IntoIterator<Item = &'a Word>) -> f32 {
    let (tokens, sum) = words.into_iter().fold((0, 0.0), |(tokens, sum), word| {
        (tokens + word.tokens, sum + word.probability_sum)
    });
    if tokens == 0 {
        0.0
    } else {
        (sum / tokens as f32).clamp(0.0, 1.0)
    }
}

/// The text of some words, with the spaces between them.
pub(super) fn join<'a>(words: impl IntoIterator<Item = &'a Word>) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() && !word.glued {
            text.push(' ');
        }
        text.push_str(&word.text);
    }
    text
}

/// Puts tokens (bytes and probability) together to words without times.
///
/// A character may be spread over several tokens; bytes that make none become U+FFFD.
pub(super) fn assemble<'a>(tokens: impl IntoIterator<Item = (&'a [u8], f32)>) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut pending = Pending::default();
    for (bytes, probability) in tokens {
        let spaced = bytes.first().is_some_and(u8::is_ascii_whitespace);
        if spaced || pending.ends_before(bytes) {
            words.extend(pending.take(!spaced));
        }
        pending.bytes.extend_from_slice(bytes);
        pending.tokens += 1;
        pending.probability_sum += probability;
    }
    words.extend(pending.take(false));
    words
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    glued: bool,
    tokens: u32,
    probability_sum: f32,
}

impl Pending {
    /// True when these bytes begin a new word although no space says so.
    fn ends_before(&self, next: &[u8]) -> bool {
        let Some(last) = std::str::from_utf8(&self.bytes)
            .ok()
            .and_then(|text| text.chars().next_back())
        else {
            return false;
        };
        // A fragment of a character is one of a rare letter, not of punctuation.
        let next_is_punctuation = std::str::from_utf8(next)
            .ok()
            .and_then(|text| text.chars().next())
            .is_some_and(|c| !c.is_alphanumeric());
        (is_unspaced(last) || is_wide_punctuation(last)) && !next_is_punctuation
    }

    /// Ends the word; the one that follows is glued to it if `next_glued`.
    fn take(&mut self, next_glued: bool) -> Option<Word> {
        let word = std::mem::take(self);
        let text = String::from_utf8_lossy(&word.bytes).trim().to_owned();
        self.glued = next_glued && !text.is_empty();
        (!text.is_empty()).then_some(Word {
            text,
            glued: word.glued,
            start_ms: 0,
            end_ms: 0,
            tokens: word.tokens,
            probability_sum: word.probability_sum,
        })
    }
}

/// Gives each word of an utterance its time.
///
/// Whisper times utterances, not words, and whisper.cpp's own estimate compares all but the first
/// utterance with the wrong part of the recording. So a word gets a share of the utterance by its
/// length, and `pauses` of the recording (start and end, in order) fall between the nearest words.
pub(super) fn assign_times(utterance: &mut Utterance, pauses: &[(u64, u64)]) {
    let (mut start_ms, mut end_ms) = (utterance.start_ms, utterance.end_ms);
    for &(pause_start, pause_end) in pauses {
        if pause_start <= start_ms && pause_end > start_ms && pause_end < end_ms {
            start_ms = pause_end;
        }
        if pause_end >= end_ms && pause_start < end_ms && pause_start > start_ms {
            end_ms = pause_start;
        }
    }
    utterance.start_ms = start_ms;
    utterance.end_ms = end_ms;

    let mut words = utterance.words.as_mut_slice();
    for &(pause_start, pause_end) in pauses {
        if pause_start <= start_ms || pause_end >= end_ms {
            continue;
        }
        spread(words, start_ms, end_ms);
        let middle = pause_start.midpoint(pause_end);
        let gaps = (1..words.len()).map(|i| (words[i].start_ms.abs_diff(middle), i));
        let Some((distance, split)) = gaps.min() else {
            break;
        };
        if distance <= PAUSE_REACH_MS {
            let (before, after) = words.split_at_mut(split);
            spread(before, start_ms, pause_start);
            words = after;
            start_ms = pause_end;
        }
    }
    spread(words, start_ms, end_ms);
}

/// Shares a stretch of time among words by their length in characters.
fn spread(words: &mut [Word], start_ms: u64, end_ms: u64) {
    let length = |word: &Word| word.text.chars().count() as u64 + u64::from(!word.glued);
    let total = words.iter().map(length).sum::<u64>().max(1);
    let at = |position: u64| start_ms + (end_ms - start_ms) * position / total;
    let mut position = 0;
    for word in words {
        word.start_ms = at(position);
        position += length(word);
        word.end_ms = at(position);
    }
}

/// True for letters of scripts that put no space between words (Chinese characters, kana, Thai,
/// Lao, Burmese, Khmer).
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

fn is_wide_punctuation(c: char) -> bool {
    matches!(c, '\u{3001}'..='\u{303F}' | '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(tokens: &[&[u8]]) -> Vec<Word> {
        assemble(tokens.iter().map(|bytes| (*bytes, 0.5)))
    }

    fn texts(words: &[Word]) -> Vec<&str> {
        words.iter().map(|word| word.text.as_str()).collect()
    }

    #[test]
    fn words_begin_at_spaces() {
        let words = words(&[b" J", b"'", b"arrive", b" \xc3", b"\xa0", b" Lyon", b"."]);
        assert_eq!(texts(&words), ["J'arrive", "à", "Lyon."]);
        assert_eq!(words[0].tokens, 3);
        assert_eq!(join(&words), "J'arrive à Lyon.");
        assert!((mean_probability(&words) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn scripts_without_spaces_are_cut_between_characters() {
        let words = words(&[
            "你好".as_bytes(),
            "，".as_bytes(),
            &"世".as_bytes()[..2],
            &"世".as_bytes()[2..],
            "界".as_bytes(),
        ]);
        assert_eq!(texts(&words), ["你好，", "世", "界"]);
        assert_eq!(join(&words), "你好，世界");
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        assert_eq!(
            texts(&words(&[b" \xff\xfe", b"ok"])),
            ["\u{FFFD}\u{FFFD}ok"]
        );
        assert!(words(&[b" ", b"  ", b""]).is_empty());
    }

    fn utterance(text: &str, start_ms: u64, end_ms: u64) -> Utterance {
        let tokens: Vec<String> = text.split(' ').map(|word| format!(" {word}")).collect();
        Utterance {
            words: assemble(tokens.iter().map(|token| (token.as_bytes(), 1.0))),
            start_ms,
            end_ms,
            no_speech_probability: 0.0,
        }
    }

    fn times(utterance: &Utterance) -> Vec<(u64, u64)> {
        utterance
            .words
            .iter()
            .map(|word| (word.start_ms, word.end_ms))
            .collect()
    }

    #[test]
    fn words_share_the_time_by_length() {
        let mut said = utterance("abc abcdefg", 1000, 2200);
        assign_times(&mut said, &[]);
        assert_eq!(times(&said), [(1000, 1400), (1400, 2200)]);
    }

    #[test]
    fn pauses_fall_between_words_and_silence_at_the_edges_is_cut() {
        let mut said = utterance("abc abc abc abc", 0, 4000);
        assign_times(&mut said, &[(0, 400), (1800, 2400), (3600, 5000)]);
        assert_eq!(
            times(&said),
            [(400, 1100), (1100, 1800), (2400, 3000), (3000, 3600)]
        );
        assert_eq!((said.start_ms, said.end_ms), (400, 3600));
    }

    #[test]
    fn a_pause_far_from_every_gap_is_left_alone() {
        let mut said = utterance("incomprehensibilities a", 0, 9000);
        assign_times(&mut said, &[(3000, 3400)]);
        assert_eq!(said.words[0].start_ms, 0);
        assert!(said.words[0].end_ms > 7000);
    }

    #[test]
    fn an_utterance_within_a_pause_keeps_its_time() {
        let mut said = utterance("a b", 500, 900);
        assign_times(&mut said, &[(0, 5000)]);
        assert_eq!(times(&said), [(500, 700), (700, 900)]);
    }
}
