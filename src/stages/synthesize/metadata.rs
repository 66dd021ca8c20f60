//! `metadata.json` beside the graphs: every size, id and default of one XTTS model.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::SynthesizeError;
use super::text::Readings;
use crate::domain::Language;
use crate::domain::voice::Conditioning;

/// What the model's `metadata.json` says. Reading it loads no graph.
#[derive(Debug, Clone, Deserialize)]
pub struct XttsMetadata {
    /// Rate of reference audio.
    pub input_sample_rate_hz: u32,
    /// Rate that the speaker encoder takes.
    pub speaker_sample_rate_hz: u32,
    /// Rate of the speech.
    pub output_sample_rate_hz: u32,

    /// Rows of the text part of the joined embedding table; code `c` is id `text_vocab_size + c`.
    pub text_vocab_size: usize,
    /// Codes, start and stop included.
    pub audio_vocab_size: usize,
    /// Rows of the text part of the joined position table.
    pub text_positions: usize,
    /// Rows of the audio part of the joined position table.
    pub audio_positions: usize,
    /// Text id before the text.
    pub start_text_id: i64,
    /// Text id after the text.
    pub stop_text_id: i64,
    /// Code that begins the audio.
    pub start_audio_id: u32,
    /// Code that ends the audio.
    pub stop_audio_id: u32,
    /// Code that the repetition penalty sees from the first step, besides the start code.
    pub placeholder_audio_id: u32,

    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of latents.
    pub width: usize,
    /// Conditioning latents before the text.
    pub cond_len: usize,
    /// Most text ids, language tag included, before start and stop are added.
    pub max_text_ids: usize,
    /// Most codes of one unit, stop code included.
    pub max_codes: usize,

    /// Length of the speaker embedding.
    pub speaker_dim: usize,
    /// Samples at the output rate of one vocoder frame.
    pub frame_samples: usize,
    /// First interpolation: so many positions for each latent.
    pub latent_upsample: usize,
    /// Second interpolation, to the output rate.
    pub frame_resample: Ratio,
    /// Frames on each side that an output frame depends on.
    pub vocoder_context_frames: usize,

    /// Defaults of the checkpoint.
    pub sampling: SamplingDefaults,

    /// Reference audio that conditions the GPT, in seconds.
    pub gpt_cond_len_s: f64,
    /// Length of the pieces it is cut into, in seconds.
    pub gpt_cond_chunk_len_s: f64,
    /// Pieces shorter than this are left out, in seconds.
    pub min_cond_chunk_s: f64,
    /// What is kept of each reference, in seconds.
    pub max_ref_len_s: f64,

    /// Languages that the model speaks and whose texts can be prepared for it.
    pub languages: Vec<Language>,
    /// Most characters of one unit, by language.
    pub char_limits: HashMap<Language, usize>,
}

/// A rational factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Ratio {
    /// Above the line.
    pub numerator: usize,
    /// Below the line.
    pub denominator: usize,
}

/// How the checkpoint's own configuration samples codes.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct SamplingDefaults {
    /// Divides the logits; lower is more monotonous.
    pub temperature: f32,
    /// So many codes stay in the choice.
    pub top_k: usize,
    /// Codes stay until this probability is reached.
    pub top_p: f32,
    /// Divides (or multiplies, when negative) logits of codes already used.
    pub repetition_penalty: f32,
    /// False: always the likeliest code.
    pub do_sample: bool,
}

/// Largest value of any size in the file: keeps products of two or three of them harmless.
const MAX_SIZE: usize = 1 << 20;

impl XttsMetadata {
    /// Reads `metadata.json` in the model's directory.
    ///
    /// # Errors
    /// The file is missing, lacks a key, or its numbers contradict each other.
    pub fn read(directory: &Path) -> Result<Self, SynthesizeError> {
        let path = directory.join("metadata.json");
        let bytes = std::fs::read(&path).map_err(|source| SynthesizeError::Read {
            path: path.clone(),
            source,
        })?;
        let mut metadata: Self =
            serde_json::from_slice(&bytes).map_err(|source| SynthesizeError::Metadata {
                path: path.clone(),
                source,
            })?;
        if let Some(what) = metadata.contradiction() {
            return Err(SynthesizeError::Inconsistent { path, what });
        }
        let are_readable = |language: &Language| Readings::suffice(directory, *language);
        metadata.languages.retain(are_readable);
        Ok(metadata)
    }

    /// Tells whether a voice has the dimensions of this model's voices.
    pub fn fits(&self, conditioning: &Conditioning) -> bool {
        conditioning.latents.len() == self.cond_len * self.width
            && conditioning.speaker_embedding.len() == self.speaker_dim
    }

    /// Tells whether texts in `language` can be spoken.
    pub fn speaks(&self, language: Language) -> bool {
        self.languages.contains(&language)
    }

    /// Most characters of one unit in `language`; above it the model cuts speech off.
    pub fn char_limit(&self, language: Language) -> usize {
        self.char_limits.get(&language).copied().unwrap_or_else(|| {
            self.char_limits
                .values()
                .copied()
                .min()
                .unwrap_or(DEFAULT_CHAR_LIMIT)
        })
    }

    /// Positions of the cache that the longest unit takes: conditioning, text with start and stop,
    /// start code, codes.
    pub fn max_positions(&self) -> usize {
        self.cond_len + self.max_text_ids + 2 + 1 + self.max_codes
    }

    /// Numbers in the key/value cache for one position of one row.
    pub fn cache_numbers_per_position(&self) -> usize {
        2 * self.layers * self.heads * self.head_dim
    }

    fn contradiction(&self) -> Option<&'static str> {
        let sizes = [
            self.text_vocab_size,
            self.audio_vocab_size,
            self.text_positions,
            self.audio_positions,
            self.layers,
            self.heads,
            self.head_dim,
            self.width,
            self.cond_len,
            self.max_text_ids,
            self.max_codes,
            self.speaker_dim,
            self.frame_samples,
            self.latent_upsample,
            self.frame_resample.numerator,
            self.frame_resample.denominator,
            self.sampling.top_k,
            self.input_sample_rate_hz as usize,
            self.speaker_sample_rate_hz as usize,
            self.output_sample_rate_hz as usize,
        ];
        let seconds = [
            self.gpt_cond_len_s,
            self.gpt_cond_chunk_len_s,
            self.max_ref_len_s,
        ];
        let codes = [
            self.start_audio_id,
            self.stop_audio_id,
            self.placeholder_audio_id,
        ];
        let texts = [self.start_text_id, self.stop_text_id];
        if sizes.iter().any(|size| !(1..=MAX_SIZE).contains(size))
            || self.vocoder_context_frames > MAX_SIZE
        {
            Some("a size is zero or absurd")
        } else if seconds.iter().any(|s| !(*s > 0.0 && *s <= 3600.0))
            || !(0.0..=3600.0).contains(&self.min_cond_chunk_s)
        {
            Some("a length in seconds is not positive or absurd")
        } else if codes
            .iter()
            .any(|code| *code as usize >= self.audio_vocab_size)
        {
            Some("an audio id is outside audio_vocab_size")
        } else if texts
            .iter()
            .any(|id| !(0..self.text_vocab_size as i64).contains(id))
        {
            Some("a text id is outside text_vocab_size")
        } else if self.max_text_ids + 2 > self.text_positions {
            Some("max_text_ids exceeds text_positions")
        } else if self.max_codes >= self.audio_positions {
            Some("max_codes exceeds audio_positions")
        } else if self.languages.is_empty() {
            Some("no language")
        } else if self.char_limits.values().any(|limit| *limit == 0) {
            Some("a character limit is zero")
        } else {
            None
        }
    }
}

/// The tightest limit of XTTS v2, for a language whose limit is not stated.
const DEFAULT_CHAR_LIMIT: usize = 71;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The numbers of XTTS v2, as its export writes them.
    pub(in crate::stages::synthesize) fn xtts_v2() -> XttsMetadata {
        serde_json::from_value(xtts_v2_json()).unwrap()
    }

    fn xtts_v2_json() -> serde_json::Value {
        serde_json::json!({
            "input_sample_rate_hz": 22050, "speaker_sample_rate_hz": 16000, "output_sample_rate_hz": 24000,
            "text_vocab_size": 6681, "audio_vocab_size": 1026, "text_positions": 404, "audio_positions": 608,
            "start_text_id": 261, "stop_text_id": 0, "start_audio_id": 1024, "stop_audio_id": 1025,
            "placeholder_audio_id": 1, "layers": 30, "heads": 16, "head_dim": 64, "width": 1024,
            "cond_len": 32, "max_text_ids": 401, "max_codes": 602, "speaker_dim": 512,
            "frame_samples": 256, "latent_upsample": 4,
            "frame_resample": {"numerator": 160, "denominator": 147}, "vocoder_context_frames": 13,
            "sampling": {"temperature": 0.75, "top_k": 50, "top_p": 0.85, "repetition_penalty": 5.0, "do_sample": true},
            "gpt_cond_len_s": 30, "gpt_cond_chunk_len_s": 4, "min_cond_chunk_s": 0.33, "max_ref_len_s": 30,
            "languages": ["en", "fr", "zh-cn"], "char_limits": {"en": 250, "fr": 273, "zh-cn": 82}
        })
    }

    #[test]
    fn the_description_of_xtts_v2_is_read() {
        let metadata = xtts_v2();
        assert_eq!(metadata.contradiction(), None);
        // 30 layers of keys and values, 1024 numbers each.
        assert_eq!(metadata.cache_numbers_per_position(), 61_440);
        assert_eq!(metadata.max_positions(), 32 + 401 + 2 + 1 + 602);
        let chinese = Language::parse("zh").unwrap();
        assert_eq!(metadata.char_limit(chinese), 82);
        assert!(metadata.speaks(Language::FRENCH));
        assert!(metadata.speaks(chinese));
        assert!(!metadata.speaks(Language::parse("ln").unwrap()));
    }

    #[test]
    fn contradictions_are_named() {
        for (key, value, expected) in [
            ("layers", serde_json::json!(0), "a size is zero or absurd"),
            (
                "width",
                serde_json::json!(1u64 << 40),
                "a size is zero or absurd",
            ),
            (
                "stop_audio_id",
                serde_json::json!(1026),
                "an audio id is outside audio_vocab_size",
            ),
            (
                "start_text_id",
                serde_json::json!(-1),
                "a text id is outside text_vocab_size",
            ),
            (
                "max_text_ids",
                serde_json::json!(403),
                "max_text_ids exceeds text_positions",
            ),
            (
                "max_codes",
                serde_json::json!(608),
                "max_codes exceeds audio_positions",
            ),
            (
                "gpt_cond_len_s",
                serde_json::json!(-1.0),
                "a length in seconds is not positive or absurd",
            ),
            ("languages", serde_json::json!([]), "no language"),
        ] {
            let mut json = xtts_v2_json();
            json[key] = value;
            let metadata: XttsMetadata = serde_json::from_value(json).unwrap();
            assert_eq!(metadata.contradiction(), Some(expected), "{key}");
        }
    }
}
