//! Base64 that comes piece by piece.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest beginning of a `data:` URL, before its payload.
const MAX_PREFIX_BYTES: usize = 256;
/// Characters that are decoded together.
const QUAD: usize = 4;

/// Decodes pieces of one text; white space is left out.
#[derive(Default)]
pub struct Base64Decoder {
    /// Characters that wait for others.
    waiting: Vec<u8>,
    /// True once it is known that the text is no `data:` URL, or its payload has begun.
    is_begun: bool,
}

impl Base64Decoder {
    /// The bytes of the next piece; `None` when it is no base64.
    pub fn decode(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        let visible = piece.iter().filter(|byte| !byte.is_ascii_whitespace());
        self.waiting.extend(visible);
        if !self.is_begun && !self.begin()? {
            return Some(Vec::new());
        }
        let whole = self.waiting.len() / QUAD * QUAD;
        let quads: Vec<u8> = self.waiting.drain(..whole).collect();
        STANDARD.decode(quads).ok()
    }

    /// The bytes of what waits; `None` when the text is not whole.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if !self.is_begun && self.waiting.starts_with(b"data:") {
            return None;
        }
        STANDARD.decode(std::mem::take(&mut self.waiting)).ok()
    }

    /// Leaves the beginning of a `data:` URL out; `Some(false)` while more of it has to come.
    fn begin(&mut self) -> Option<bool> {
        const SCHEME: &[u8] = b"data:";
        let length = self.waiting.len().min(SCHEME.len());
        if self.waiting.get(..length) != SCHEME.get(..length) {
            self.is_begun = true;
        } else if let Some(comma) = self.waiting.iter().position(|byte| *byte == b',') {
            let is_base64 = self.waiting.get(..comma)?.ends_with(b";base64");
            self.waiting.drain(..=comma);
            self.is_begun = true;
            return is_base64.then_some(true);
        } else if self.waiting.len() > MAX_PREFIX_BYTES {
            return None;
        }
        Some(self.is_begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(pieces: &[&str]) -> Option<Vec<u8>> {
        let mut decoder = Base64Decoder::default();
        let mut bytes = Vec::new();
        for piece in pieces {
            bytes.extend(decoder.decode(piece.as_bytes())?);
        }
        bytes.extend(decoder.finish()?);
        Some(bytes)
    }

    #[test]
    fn pieces_may_be_cut_anywhere() {
        let text = "data:audio/wav;base64,UklG Rg==\n";
        for at in 0..text.len() {
            let (left, right) = text.split_at(at);
            assert_eq!(
                decoded(&[left, right]).as_deref(),
                Some(&b"RIFF"[..]),
                "{at}"
            );
        }
        assert_eq!(decoded(&["UklGRg=="]).as_deref(), Some(&b"RIFF"[..]));
        assert_eq!(decoded(&[]).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in [
            "UklG!",
            "UklGR",
            "data:audio/wav,abcd",
            "data:audio/wav;base64",
            "=UklG",
        ] {
            assert_eq!(decoded(&[text]), None, "{text}");
        }
        let endless = format!("data:{}", "x".repeat(300));
        assert_eq!(decoded(&[&endless]), None);
    }
}
