//! Writes small Whisper models: one whose answer is known, and one that answers anything.

use std::io::Write;

use half::f16;
use tempfile::NamedTempFile;

/// Most tokens of a script.
const STATE: usize = 32;
const VOCABULARY: usize = 51_865;
const END_OF_TEXT: usize = 50_257;
const FIRST_LANGUAGE: usize = 50_259;
const FIRST_TIMESTAMP: usize = 50_364;

/// Writes a model that hears `words` from 0 to `end_ms` in every window, in the language with the
/// given id (or with another mark by its distance from the first language), or in any language alike.
///
/// One encoder and one decoder layer, all weights zero but three: the positional embedding of the
/// k-th answer is the unit vector k, as is the embedding of the k-th wanted token, and the last
/// normalisation is large. So position alone decides the token. The first answer follows the start
/// token (asked alone, it is the language), the others the prompt of three tokens (start, language,
/// task) that is given without context and with timestamps.
pub(super) fn scripted_model(
    words: &[&str],
    end_ms: usize,
    language: Option<usize>,
) -> NamedTempFile {
    let first_word = 256;
    let no_token = usize::MAX;
    let mut script = vec![
        language.map_or(no_token, |id| FIRST_LANGUAGE + id),
        FIRST_TIMESTAMP,
    ];
    script.extend(first_word..first_word + words.len());
    script.extend([FIRST_TIMESTAMP + end_ms / 20, END_OF_TEXT]);
    assert!(script.len() <= STATE, "the script is too long");

    let last = script.len() - 1;
    let position = |position: usize| match position {
        0 => language.map(|_| 0),
        1 => None,
        _ => Some((position - 1).min(last)),
    };
    write_model(words, |tensor, i| {
        let (row, dimension) = (i / STATE, i % STATE);
        match tensor {
            "decoder.positional_embedding" if position(row) == Some(dimension) => 10.0,
            "decoder.token_embedding.weight" if script.get(dimension) == Some(&row) => 1.0,
            "decoder.ln.weight" => 12.0,
            _ => 0.0,
        }
    })
}

/// Writes a model with random weights: what it writes is gibberish, but other gibberish for each recording and each
/// language, and it says which language it hears.
pub(super) fn random_model(seed: u64) -> NamedTempFile {
    write_model(&[], |tensor, i| {
        let row = i / STATE;
        let size = match tensor {
            name if name.ends_with("ln.weight") || name.ends_with("ln_post.weight") => return 1.0,
            "decoder.token_embedding.weight" => match row {
                END_OF_TEXT => 0.5,
                256..END_OF_TEXT => 0.05,
                _ => 0.2,
            },
            name if name.starts_with("encoder.conv") => 0.5,
            _ => 0.2,
        };
        size * noise(seed ^ hash(tensor), i as u64)
    })
}

/// Between -1 and 1, by the finalizer of MurmurHash3.
fn noise(seed: u64, index: u64) -> f32 {
    let mut x = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        x = (x ^ (x >> 33)).wrapping_mul(factor);
    }
    (x >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn hash(name: &str) -> u64 {
    name.bytes().fold(7, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    })
}

/// Writes a model of one encoder and one decoder layer; `value` gives a weight by its tensor and place.
fn write_model(words: &[&str], value: impl Fn(&str, usize) -> f32) -> NamedTempFile {
    let mut model = Model {
        bytes: Vec::new(),
        value,
    };
    // magic, n_vocab, audio ctx/state/head/layer, text ctx/state/head/layer, mels, type of weights
    let (state, half_precision) = (STATE as u32, 1);
    for number in [
        0x6767_6d6c,
        VOCABULARY as u32,
        1500,
        state,
        1,
        1,
        448,
        state,
        1,
        1,
        80,
        half_precision,
    ] {
        model.u32(number);
    }
    model.u32(80);
    model.u32(201);
    let filters = std::iter::repeat_n(0.01_f32.to_le_bytes(), 80 * 201);
    model.bytes.extend(filters.flatten());
    model.u32(256 + words.len() as u32);
    for byte in 0..=255_u8 {
        model.text(&[byte]);
    }
    for word in words {
        model.text(word.as_bytes());
    }

    model.tensor("encoder.positional_embedding", &[STATE, 1500]);
    model.matrix("encoder.conv1.weight", &[3, 80, STATE]);
    model.tensor("encoder.conv1.bias", &[1, STATE]);
    model.matrix("encoder.conv2.weight", &[3, STATE, STATE]);
    model.tensor("encoder.conv2.bias", &[1, STATE]);
    model.norm("encoder.ln_post");
    model.block("encoder.blocks.0", &["attn"]);
    model.tensor("decoder.positional_embedding", &[STATE, 448]);
    model.matrix("decoder.token_embedding.weight", &[STATE, VOCABULARY]);
    model.norm("decoder.ln");
    model.block("decoder.blocks.0", &["attn", "cross_attn"]);

    let mut file = NamedTempFile::with_suffix(".bin").unwrap();
    file.write_all(&model.bytes).unwrap();
    file
}

struct Model<V> {
    bytes: Vec<u8>,
    value: V,
}

impl<V: Fn(&str, usize) -> f32> Model<V> {
    fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.u32(text.len() as u32);
        self.bytes.extend(text);
    }

    /// In single precision; `sizes` with the fastest first.
    fn tensor(&mut self, name: &str, sizes: &[usize]) {
        self.header(name, sizes, 0);
        let values = (0..sizes.iter().product()).map(|i| (self.value)(name, i));
        self.bytes.extend(values.flat_map(f32::to_le_bytes));
    }

    /// In half precision.
    fn matrix(&mut self, name: &str, sizes: &[usize]) {
        self.header(name, sizes, 1);
        let values = (0..sizes.iter().product()).map(|i| f16::from_f32((self.value)(name, i)));
        self.bytes.extend(values.flat_map(f16::to_le_bytes));
    }

    fn header(&mut self, name: &str, sizes: &[usize], kind: u32) {
        for number in [sizes.len() as u32, name.len() as u32, kind] {
            self.u32(number);
        }
        for size in sizes {
            self.u32(*size as u32);
        }
        self.bytes.extend(name.as_bytes());
    }

    fn norm(&mut self, name: &str) {
        self.tensor(&format!("{name}.weight"), &[STATE]);
        self.tensor(&format!("{name}.bias"), &[STATE]);
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) {
        self.matrix(&format!("{name}.weight"), &[inputs, outputs]);
        if bias {
            self.tensor(&format!("{name}.bias"), &[outputs]);
        }
    }

    fn block(&mut self, name: &str, attentions: &[&str]) {
        for attention in attentions {
            self.norm(&format!("{name}.{attention}_ln"));
            for (part, bias) in [
                ("query", true),
                ("key", false),
                ("value", true),
                ("out", true),
            ] {
                self.linear(&format!("{name}.{attention}.{part}"), STATE, STATE, bias);
            }
        }
        self.norm(&format!("{name}.mlp_ln"));
        self.linear(&format!("{name}.mlp.0"), STATE, 4 * STATE, true);
        self.linear(&format!("{name}.mlp.2"), 4 * STATE, STATE, true);
    }
}
