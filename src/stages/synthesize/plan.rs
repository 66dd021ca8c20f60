//! Text to units: stretches that the model speaks in one go.

use super::SynthesizeError;
use super::metadata::XttsMetadata;
use super::speakable::{is_pronounceable, speakable};
use super::text::{Readings, TextEncoder, normalize, split_sentences};
use crate::domain::Language;

/// A stretch of text that one row of the batch speaks.
pub(super) struct PlannedUnit {
    /// As written.
    pub(super) text: String,
    /// Text ids, language tag included, without start and stop.
    pub(super) ids: Vec<i64>,
}

/// Cuts `text` into units that keep to the language's character limit and to the model's most ids.
///
/// # Errors
/// The language is not spoken, or nothing in the text can be.
pub(super) fn plan(
    text: &str,
    language: Language,
    metadata: &XttsMetadata,
    encoder: &TextEncoder,
    readings: &Readings,
) -> Result<Vec<PlannedUnit>, SynthesizeError> {
    if !metadata.speaks(language) {
        return Err(SynthesizeError::UnsupportedLanguage(language));
    }
    let limit = metadata.char_limit(language);
    let mut planner = Planner {
        language,
        max_ids: metadata.max_text_ids,
        encoder,
        readings,
        units: Vec::new(),
    };
    planner.add(&speakable(text), limit)?;
    if planner.units.is_empty() {
        return Err(SynthesizeError::NothingToSpeak);
    }
    Ok(planner.units)
}

struct Planner<'a> {
    language: Language,
    max_ids: usize,
    encoder: &'a TextEncoder,
    readings: &'a Readings,
    units: Vec<PlannedUnit>,
}

impl Planner<'_> {
    /// Adds the units of `text`; a unit with too many ids is cut again at half its length.
    fn add(&mut self, text: &str, limit: usize) -> Result<(), SynthesizeError> {
        for piece in split_sentences(text, self.language, limit) {
            let piece = piece.trim();
            if !is_pronounceable(piece) {
                continue;
            }
            let spelled_out = normalize(piece, self.language, self.readings)?;
            let ids = self.encoder.encode(&spelled_out, self.language)?;
            let characters = piece.chars().count();
            if ids.len() <= self.max_ids {
                self.units.push(PlannedUnit {
                    text: piece.to_owned(),
                    ids,
                });
            } else if characters > 1 {
                self.add(piece, characters / 2)?;
            } else {
                return Err(SynthesizeError::TextTooLong {
                    ids: ids.len(),
                    limit: self.max_ids,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing::fixture;

    fn plan_with(max_text_ids: usize, text: &str) -> Result<Vec<PlannedUnit>, SynthesizeError> {
        let mut metadata = XttsMetadata::read(&fixture("xtts")).unwrap();
        metadata.max_text_ids = max_text_ids;
        let encoder = TextEncoder::load(&fixture("xtts/vocab.json")).unwrap();
        plan(
            text,
            Language::ENGLISH,
            &metadata,
            &encoder,
            &Readings::default(),
        )
    }

    #[test]
    fn units_keep_to_the_most_ids_and_lose_no_word() {
        let text = "One two three, four five six. Seven eight nine ten eleven twelve thirteen.";
        let whole = plan_with(401, text).unwrap();
        assert_eq!(whole.len(), 1);
        let units = plan_with(20, text).unwrap();
        assert!(units.len() > 3);
        assert!(units.iter().all(|unit| unit.ids.len() <= 20));
        let words: Vec<_> = units.iter().map(|unit| unit.text.as_str()).collect();
        assert_eq!(words.join(" "), text);
    }

    #[test]
    fn a_letter_that_exceeds_the_most_ids_is_refused() {
        let error = plan_with(1, "a").err().unwrap();
        assert!(
            matches!(error, SynthesizeError::TextTooLong { ids: 2, limit: 1 }),
            "{error}"
        );
    }
}
