//! Lenient access to the fields of a JSON object.

use serde_json::{Map, Value};

use crate::domain::{JsonError, PrivateText};

/// Longest id that is taken, in bytes; the longest seen in practice have fewer than 64.
const MAX_ID_BYTES: usize = 512;

/// Most values that one message may hold.
///
/// Parsed JSON takes up to eighty times the bytes of its text (one small object takes a whole tree
/// node), while base64 audio, the only reason for a large text, is a single value. So what is
/// bounded is the number of values: an hour of speech with a segment for each word still fits.
const MAX_VALUES: usize = 250_000;

/// Why a frame holds no fields. Says nothing about the content: that is personal data.
#[derive(Debug, thiserror::Error)]
pub(super) enum FieldsError {
    #[error("first frame is not JSON")]
    NotJson(#[source] JsonError),
    #[error("first frame is not a JSON object")]
    NotAnObject,
    #[error("first frame holds more than {MAX_VALUES} values")]
    TooManyValues,
}

/// A JSON object whose fields are read once; a field of another type than asked for counts as absent.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads the object in `json`; serde_json bounds the depth of nesting at 128.
    pub(super) fn parse(json: &[u8]) -> Result<Self, FieldsError> {
        if !has_at_most(json, MAX_VALUES) {
            return Err(FieldsError::TooManyValues);
        }
        let value = match serde_json::from_slice(json) {
            Err(error) => match without_lone_surrogates(json) {
                Some(mended) => serde_json::from_slice(&mended),
                None => Err(error),
            },
            value => value,
        };
        match value {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(FieldsError::NotAnObject),
            Err(error) => Err(FieldsError::NotJson(error.into())),
        }
    }

    /// The fields of `value`, if it is an object.
    pub(super) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self(fields)),
            _ => None,
        }
    }

    /// A string that is not empty, taken out without copying.
    pub(super) fn string(&mut self, key: &str) -> Option<String> {
        match self.0.remove(key) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// A string that is not empty and is a user's own matter.
    pub(super) fn private(&mut self, key: &str) -> Option<PrivateText> {
        self.string(key).map(PrivateText::from)
    }

    /// An opaque id: a string that is not empty and of sensible length.
    pub(super) fn id(&mut self, key: &str) -> Option<String> {
        self.string(key).filter(|id| id.len() <= MAX_ID_BYTES)
    }

    /// Whatever is there, taken out without copying.
    pub(super) fn value(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    pub(super) fn bool(&self, key: &str) -> Option<bool> {
        self.0.get(key)?.as_bool()
    }

    pub(super) fn integer(&self, key: &str) -> Option<i64> {
        self.0.get(key)?.as_i64()
    }

    pub(super) fn unsigned(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    /// A probability or quality, brought into 0..1.
    pub(super) fn unit_interval(&self, key: &str) -> Option<f32> {
        self.number(key).map(|number| number.clamp(0.0, 1.0) as f32)
    }

    pub(super) fn object(&mut self, key: &str) -> Option<Self> {
        self.0.remove(key).and_then(Self::of)
    }

    pub(super) fn array(&mut self, key: &str) -> Option<Vec<Value>> {
        match self.0.remove(key) {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        }
    }
}

/// The same JSON with U+FFFD for every escaped half of a surrogate pair; `None` if there is none.
///
/// JavaScript writes such halves where a text was cut inside an emoji, and no other reader takes them.
fn without_lone_surrogates(json: &[u8]) -> Option<Vec<u8>> {
    let unit_at = |at: usize| -> Option<u16> {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut mended = json.to_vec();
    let (mut at, mut is_changed) = (0, false);
    while at < json.len() {
        at += match (json[at], unit_at(at)) {
            (b'\\', Some(0xD800..=0xDBFF)) if matches!(unit_at(at + 6), Some(0xDC00..=0xDFFF)) => {
                12
            }
            (b'\\', Some(0xD800..=0xDFFF)) => {
                mended[at + 2..at + 6].copy_from_slice(b"fffd");
                is_changed = true;
                6
            }
            // Whatever is escaped, a backslash included, begins no escape itself.
            (b'\\', _) => 2,
            _ => 1,
        };
    }
    is_changed.then_some(mended)
}

/// Tells whether `json` holds at most `limit` values, counting what separates or opens them.
fn has_at_most(json: &[u8], limit: usize) -> bool {
    let mut values = 1;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b',' | b':' | b'[' | b'{' => values += 1,
            _ => {}
        }
        if values > limit {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_emojis_are_replaced() {
        let text = |json: &str| Fields::parse(json.as_bytes()).unwrap().string("t").unwrap();
        assert_eq!(text(r#"{"t":"a\ud83d"}"#), "a\u{fffd}");
        assert_eq!(text(r#"{"t":"\udc00b\ud83dc"}"#), "\u{fffd}b\u{fffd}c");
        assert_eq!(text(r#"{"t":"\ud83d\ude00\ud83d"}"#), "\u{1F600}\u{fffd}");
        assert_eq!(text(r#"{"t":"\\ud83d\ud83d"}"#), "\\ud83d\u{fffd}");
        assert!(Fields::parse(br#"{"t":"\ud8"#).is_err());
    }

    #[test]
    fn values_are_counted_outside_strings() {
        let json = br#"{"a,:[{":"\",,,,","b":[1,2]}"#;
        assert!(has_at_most(json, 7));
        assert!(!has_at_most(json, 6));
    }

    #[test]
    fn a_flood_of_values_is_refused_before_it_is_parsed() {
        let flood = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert!(matches!(
            Fields::parse(flood.as_bytes()),
            Err(FieldsError::TooManyValues)
        ));
    }

    #[test]
    fn long_base64_is_no_flood() {
        let json = format!("{{\"audioBase64\":\"{}\"}}", "A".repeat(4 * MAX_VALUES));
        assert!(Fields::parse(json.as_bytes()).is_ok());
    }

    #[test]
    fn wrong_types_count_as_absent() {
        let json = br#"{"id":7,"flag":"yes","number":"1","object":[],"array":{},"empty":""}"#;
        let mut fields = Fields::parse(json).unwrap();
        assert_eq!(fields.id("id"), None);
        assert_eq!(fields.bool("flag"), None);
        assert_eq!(fields.number("number"), None);
        assert!(fields.object("object").is_none());
        assert!(fields.array("array").is_none());
        assert_eq!(fields.string("empty"), None);
    }
}
