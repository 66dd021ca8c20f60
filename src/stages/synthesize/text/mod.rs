//! Text to what XTTS was trained on: split, spelled out, tokenized.
//!
//! [`split_sentences`] cuts a text into pieces that the model can speak in one go, [`normalize()`]
//! spells out what is not written as it is said, and [`TextEncoder`] makes token ids of the result.
//!
//! The rules are those of coqui-tts 0.28, whose quirks (`10,00` in English is ten, `20 $` is "vingt
//! dollar") the model has learned. Differences, each on purpose:
//! - where the reference gives up, the text is spoken all the same: Czech ordinals are read, and a
//!   Czech number before the final full stop is a plain number;
//! - a number that it would read as another one is read correctly (the `numbers` module lists them);
//! - a number too long for words is read digit by digit;
//! - text never becomes a control token, `[en]` and `[SPACE]` are spoken as brackets and letters.
//!
//! | languages | what is done |
//! | --- | --- |
//! | en de fr es it pt nl pl cs ru tr hu | all of it |
//! | ko | all of it, and Latin letters for Hangul |
//! | ar | all of it but amounts of money, whose sign is read as a word |
//! | hi | case, quotes, signs, white space; digits stay digits, as no reference reads them |
//! | zh | all of it, and pinyin; needs a dictionary |
//! | ja | romaji; digits stay digits, as in the reference; needs a dictionary |
//!
//! The dictionaries ([`Readings`]) are files of the model.

mod chinese;
mod digits;
mod encode;
mod figures;
mod hangul;
mod japanese;
mod normalize;
mod numbers;
mod readings;
mod rules;
mod split;

pub use encode::{TextEncoder, TextError};
pub use normalize::normalize;
pub use readings::Readings;
pub use split::split_sentences;

#[cfg(test)]
mod golden_tests;

#[cfg(test)]
pub(super) mod testing {
    pub(in crate::stages::synthesize) use super::chinese::tests::write_small_dictionary as write_pinyin;
    pub(in crate::stages::synthesize) use super::japanese::tests::write_small_dictionary as write_unidic;
}
