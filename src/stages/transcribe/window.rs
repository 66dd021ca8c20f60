//! How much of the encoder's window a recording needs, and whether a result from less can be trusted.
//!
//! Whisper hears windows of 30 s, filled up with silence, and the encoder costs the same for any
//! filling: most of the work for a message of a few seconds. whisper.cpp can run the encoder over the
//! first positions only. The model was not trained for that, and now and then loses the thread, so such
//! a result is looked at and, in doubt, thrown away for one from the whole window.

use whisper_rs::WhisperTokenId;

use super::SAMPLE_RATE_HZ;

/// Samples of one encoder position, of which Whisper's window has 1500: 20 ms.
const POSITION_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 50;
/// Positions of silence behind a recording: 2.56 s. With none at all words get lost at the end.
const MARGIN_POSITIONS: usize = 128;
/// Numbers of positions are multiples of this: the encoder's attention sums over them, and whisper.cpp's products
/// in blocks take whole vectors, of 16 numbers at most.
const POSITIONS_STEP: usize = 16;

/// Positions that a recording of `samples` samples needs, of a window of `window`; `None` when that is all
/// of them, or when it has several windows.
pub(super) fn positions(samples: usize, window: usize) -> Option<usize> {
    let needed = samples.div_ceil(POSITION_SAMPLES) + MARGIN_POSITIONS;
    let positions = needed.next_multiple_of(POSITIONS_STEP);
    (positions < window).then_some(positions)
}

/// A token of a result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) id: WhisperTokenId,
    /// Natural logarithm of its probability.
    pub(super) log_probability: f32,
}

/// Why a result is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Somebody speaks and nothing was heard.
    NoText,
    /// The tokens are improbable.
    Improbable,
    /// The same is said again and again.
    Repetition,
    /// Something is said to be behind the end of what the encoder saw.
    TimeOutside,
}

/// Mean log-probability of a result below which whisper.cpp (`logprob_thold`), like the reference
/// implementation, tries again.
const MIN_MEAN_LOG_PROBABILITY: f32 = -1.0;
/// Entropy of the last tokens below which it does (`entropy_thold`), in nats.
const MIN_ENTROPY: f64 = 2.4;
/// How many tokens that looks at; shorter results are not judged by it.
const ENTROPY_TOKENS: usize = 32;

/// What is wrong with the tokens of a result from `positions` encoder positions, if anything.
///
/// Text has ids below `end_of_text`; the timestamp `first_timestamp` + n is the beginning of position n.
pub(super) fn doubt(
    tokens: &[Token],
    positions: usize,
    end_of_text: WhisperTokenId,
    first_timestamp: WhisperTokenId,
) -> Option<Doubt> {
    if !tokens.iter().any(|token| token.id < end_of_text) {
        return Some(Doubt::NoText);
    }
    let sum: f32 = tokens.iter().map(|token| token.log_probability).sum();
    let mean = sum / tokens.len() as f32;
    if mean.is_nan() || mean < MIN_MEAN_LOG_PROBABILITY {
        return Some(Doubt::Improbable);
    }
    if tokens.len() > ENTROPY_TOKENS && last_entropy(tokens) < MIN_ENTROPY {
        return Some(Doubt::Repetition);
    }
    let is_outside = |token: &Token| {
        usize::try_from(token.id - first_timestamp).is_ok_and(|position| position > positions)
    };
    tokens.iter().any(is_outside).then_some(Doubt::TimeOutside)
}

/// Entropy in nats of the ids among the last tokens.
fn last_entropy(tokens: &[Token]) -> f64 {
    let last = &tokens[tokens.len().saturating_sub(ENTROPY_TOKENS)..];
    let mut ids: Vec<_> = last.iter().map(|token| token.id).collect();
    ids.sort_unstable();
    ids.chunk_by(|a, b| a == b)
        .map(|same| same.len() as f64 / last.len() as f64)
        .map(|share| -share * share.ln())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_OF_TEXT: WhisperTokenId = 50_257;
    const FIRST_TIMESTAMP: WhisperTokenId = 50_364;

    fn judged(ids: &[WhisperTokenId], log_probability: f32) -> Option<Doubt> {
        let tokens: Vec<Token> = ids
            .iter()
            .map(|id| Token {
                id: *id,
                log_probability,
            })
            .collect();
        doubt(&tokens, 378, END_OF_TEXT, FIRST_TIMESTAMP)
    }

    #[test]
    fn short_recordings_need_a_part_of_the_window() {
        let seconds = |seconds: usize| positions(seconds * 16_000, 1500);
        assert_eq!(seconds(5), Some(384));
        assert_eq!(seconds(10), Some(640));
        assert_eq!(seconds(27), Some(1488));
        assert_eq!(seconds(28), None);
        assert_eq!(seconds(300), None);
        assert_eq!(positions(1, 1500), Some(144));
    }

    #[test]
    fn ordinary_speech_is_trusted() {
        let sentence: Vec<_> = std::iter::once(FIRST_TIMESTAMP)
            .chain(300..340)
            .chain([FIRST_TIMESTAMP + 250])
            .collect();
        assert_eq!(judged(&sentence, -0.3), None);
        assert_eq!(judged(&[FIRST_TIMESTAMP, 300], -0.9), None);
        // Short answers repeat themselves without being a loop.
        assert_eq!(judged(&[300, 300, 300, 300], -0.1), None);
    }

    #[test]
    fn each_sign_of_a_lost_thread_is_seen() {
        assert_eq!(judged(&[], 0.0), Some(Doubt::NoText));
        let marks = [FIRST_TIMESTAMP, FIRST_TIMESTAMP + 250];
        assert_eq!(judged(&marks, -0.1), Some(Doubt::NoText));
        assert_eq!(judged(&[300, 301], -1.1), Some(Doubt::Improbable));
        assert_eq!(judged(&[300, 301], f32::NAN), Some(Doubt::Improbable));
        let loop_of_four = [300, 301, 302, 303].repeat(10);
        assert_eq!(judged(&loop_of_four, -0.1), Some(Doubt::Repetition));
        let late = [FIRST_TIMESTAMP, 300, FIRST_TIMESTAMP + 379];
        assert_eq!(judged(&late, -0.1), Some(Doubt::TimeOutside));
        assert_eq!(judged(&[300, FIRST_TIMESTAMP + 378], -0.1), None);
    }
}
