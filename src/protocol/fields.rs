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

/// Deepest nesting of a message; requests have five levels.
const MAX_DEPTH: usize = 32;

/// Longest JSON, in bytes, beside its longest string: that may be a recording as base64, or a text whose
/// sender is told that it is too long. The rest is an hour's transcript at most.
const MAX_OTHER_BYTES: usize = 4 << 20;

/// Why a frame holds no fields. Says nothing about the content: that is personal data.
#[derive(Debug, thiserror::Error)]
pub(super) enum FieldsError {
    #[error("first frame is not JSON")]
    NotJson(#[source] JsonError),
    #[error("first frame is not a JSON object")]
    NotAnObject,
    #[error("first frame holds more than {MAX_VALUES} values")]
    TooManyValues,
    #[error("first frame is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("first frame has more than {MAX_OTHER_BYTES} bytes beside its longest string")]
    TooLong,
}

/// A JSON object whose fields are read once; a field of another type than asked for counts as absent.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads the object in `json`.
    pub(super) fn parse(json: &[u8]) -> Result<Self, FieldsError> {
        check_shape(json)?;
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

/// True when a request may have the JSON as a member: it is not nested too deeply, and has not too many values.
pub fn fits_into_request(json: &str) -> bool {
    check_shape(format!("[{json}]").as_bytes()).is_ok()
}

/// Refuses what would take much memory once it is parsed. What is no JSON is left to the parser.
fn check_shape(json: &[u8]) -> Result<(), FieldsError> {
    // What separates or opens values counts them.
    let (mut values, mut depth) = (1, 0_usize);
    let (mut string_bytes, mut longest_string_bytes) = (0, 0);
    let mut in_string = false;
    let mut escaped = false;
    for byte in json {
        if in_string {
            string_bytes += 1;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    in_string = false;
                    longest_string_bytes = longest_string_bytes.max(string_bytes);
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => (in_string, string_bytes) = (true, 0),
            b',' | b':' => values += 1,
            b'[' | b'{' => {
                values += 1;
                depth += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if values > MAX_VALUES {
            return Err(FieldsError::TooManyValues);
        }
        if depth > MAX_DEPTH {
            return Err(FieldsError::TooDeep);
        }
    }
    if json.len().saturating_sub(longest_string_bytes) > MAX_OTHER_BYTES {
        return Err(FieldsError::TooLong);
    }
    Ok(())
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
    fn a_flood_of_values_is_refused_before_it_is_parsed() {
        let array = |values| format!("[{}0]", "0,".repeat(values - 2));
        assert!(check_shape(array(MAX_VALUES).as_bytes()).is_ok());
        let flood = array(MAX_VALUES + 1);
        let error = Fields::parse(flood.as_bytes());
        assert!(matches!(error, Err(FieldsError::TooManyValues)));
    }

    #[test]
    fn nesting_is_counted_as_it_opens_and_closes() {
        let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let flat = format!("[{}0]", "[],{},".repeat(2 * MAX_DEPTH));
        assert!(check_shape(flat.as_bytes()).is_ok());
        assert!(check_shape(nested(MAX_DEPTH).as_bytes()).is_ok());
        let error = Fields::parse(nested(MAX_DEPTH + 1).as_bytes());
        assert!(matches!(error, Err(FieldsError::TooDeep)));
    }

    #[test]
    fn a_long_json_is_long_by_one_string() {
        let of_strings = |count| {
            format!(
                "[{}\"\"]",
                format!("\"{}\",", "A".repeat(3 << 20)).repeat(count)
            )
        };
        assert!(check_shape(of_strings(2).as_bytes()).is_ok());
        let error = Fields::parse(of_strings(3).as_bytes());
        assert!(matches!(error, Err(FieldsError::TooLong)));
        let base64 = format!("{{\"audioBase64\":\"{}\"}}", "A".repeat(16 << 20));
        assert!(Fields::parse(base64.as_bytes()).is_ok());
        assert!(check_shape(&vec![b' '; MAX_OTHER_BYTES + 1]).is_err());
    }

    #[test]
    fn what_is_in_strings_opens_and_separates_nothing() {
        let text = format!("{{\"a,:[{{\":\"\\\"{}\"}}", "[{,:".repeat(MAX_VALUES));
        assert!(Fields::parse(text.as_bytes()).is_ok());
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
