//! Writes small Whisper models whose answer is known.

use std::io::Write;

use tempfile::NamedTempFile;

/// Most tokens of a script.
const STATE: usize = 32;
const VOCABULARY: usize = 51_865;
const END_OF_TEXT: usize = 50_257;
const FIRST_LANGUAGE: usize = 50_259;
const FIRST_TIMESTAMP: usize = 50_364;

/// Writes a model that hears `words` from 0 to `end_ms` in every window, in the language with the
/// given id, or in any language alike.
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

    let mut model = Model(Vec::new());
    // magic, n_vocab, audio ctx/state/head/layer, text ctx/state/head/layer, mels, f16
    let state = STATE as u32;
    for value in [
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
        1,
    ] {
        model.u32(value);
    }
    model.u32(80);
    model.u32(201);
    model.floats(80 * 201, |_| 0.01);
    model.u32(256 + words.len() as u32);
    for byte in 0..=255_u8 {
        model.bytes(&[byte]);
    }
    for word in words {
        model.bytes(word.as_bytes());
    }

    model.tensor("encoder.positional_embedding", &[STATE, 1500], |_| 0.0);
    model.matrix("encoder.conv1.weight", &[3, 80, STATE], |_| false);
    model.tensor("encoder.conv1.bias", &[1, STATE], |_| 0.0);
    model.matrix("encoder.conv2.weight", &[3, STATE, STATE], |_| false);
    model.tensor("encoder.conv2.bias", &[1, STATE], |_| 0.0);
    model.norm("encoder.ln_post", 0.0);
    model.block("encoder.blocks.0", &["attn"]);
    let last = script.len() - 1;
    model.tensor("decoder.positional_embedding", &[STATE, 448], |i| {
        let (position, dimension) = (i / STATE, i % STATE);
        let answer = match position {
            0 => language.map(|_| 0),
            1 => None,
            _ => Some((position - 1).min(last)),
        };
        if answer == Some(dimension) { 10.0 } else { 0.0 }
    });
    model.matrix(
        "decoder.token_embedding.weight",
        &[STATE, VOCABULARY],
        |i| {
            let (token, dimension) = (i / STATE, i % STATE);
            script.get(dimension) == Some(&token)
        },
    );
    model.norm("decoder.ln", 12.0);
    model.block("decoder.blocks.0", &["attn", "cross_attn"]);

    let mut file = NamedTempFile::with_suffix(".bin").unwrap();
    file.write_all(&model.0).unwrap();
    file
}

struct Model(Vec<u8>);

impl Model {
    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend(bytes);
    }

    fn floats(&mut self, count: usize, value: impl Fn(usize) -> f32) {
        self.0
            .extend((0..count).flat_map(|i| value(i).to_le_bytes()));
    }

    /// `sizes` with the fastest first; `kind` 0 is f32, 1 is f16.
    fn tensor_header(&mut self, name: &str, sizes: &[usize], kind: u32) {
        self.u32(sizes.len() as u32);
        self.u32(name.len() as u32);
        self.u32(kind);
        for size in sizes {
            self.u32(*size as u32);
        }
        self.0.extend(name.as_bytes());
    }

    fn tensor(&mut self, name: &str, sizes: &[usize], value: impl Fn(usize) -> f32) {
        self.tensor_header(name, sizes, 0);
        self.floats(sizes.iter().product(), value);
    }

    /// Weights that are one or zero, in half precision.
    fn matrix(&mut self, name: &str, sizes: &[usize], is_one: impl Fn(usize) -> bool) {
        self.tensor_header(name, sizes, 1);
        let half = |i| if is_one(i) { 0x3c00_u16 } else { 0 };
        let count = sizes.iter().product();
        self.0
            .extend((0..count).flat_map(|i| half(i).to_le_bytes()));
    }

    fn norm(&mut self, name: &str, weight: f32) {
        self.tensor(&format!("{name}.weight"), &[STATE], |_| weight);
        self.tensor(&format!("{name}.bias"), &[STATE], |_| 0.0);
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) {
        self.matrix(&format!("{name}.weight"), &[inputs, outputs], |_| false);
        if bias {
            self.tensor(&format!("{name}.bias"), &[outputs], |_| 0.0);
        }
    }

    fn block(&mut self, name: &str, attentions: &[&str]) {
        for attention in attentions {
            self.norm(&format!("{name}.{attention}_ln"), 0.0);
            for (part, bias) in [
                ("query", true),
                ("key", false),
                ("value", true),
                ("out", true),
            ] {
                self.linear(&format!("{name}.{attention}.{part}"), STATE, STATE, bias);
            }
        }
        self.norm(&format!("{name}.mlp_ln"), 0.0);
        self.linear(&format!("{name}.mlp.0"), STATE, 4 * STATE, true);
        self.linear(&format!("{name}.mlp.2"), 4 * STATE, STATE, true);
    }
}
