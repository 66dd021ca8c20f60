//! What nobody but its owner shall read: shown by length and keyed hash only.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::{Map, Value};

/// What a user has said or written, or sounds like. `Debug` and `Display` show how long it is and a hash;
/// serde passes it through, for it is for the wire and for storage that such content is there.
///
/// There is no `Deref`: whoever reads the content says [`expose`](Self::expose), so no format string,
/// log field or derived `Debug` can quote it by accident.
///
/// The hash is SipHash with a random key that lives as long as the process. Two lines of one log tell
/// whether they are about the same content; a log alone tells nothing about it, however short it is, since
/// nobody can try words without the key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private<T>(T);

/// What a user has said or written.
pub type PrivateText = Private<String>;
/// Audio or a voice print, or a message that may hold them.
pub type PrivateBytes = Private<Bytes>;

impl<T> Private<T> {
    /// The content, to work with. It must not get into a log line, a metric or an error.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The content itself; the rule of [`expose`](Self::expose) goes with it.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> From<T> for Private<T> {
    fn from(content: T) -> Self {
        Self(content)
    }
}

impl From<&str> for PrivateText {
    fn from(content: &str) -> Self {
        Self(content.to_owned())
    }
}

impl PartialEq<str> for PrivateText {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for PrivateText {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// Content that has a length and can be hashed.
pub trait Content {
    /// Feeds all of it to `hasher`; gives its length and the unit of that.
    fn measure(&self, hasher: &mut impl Hasher) -> (usize, &'static str);
}

impl Content for String {
    fn measure(&self, hasher: &mut impl Hasher) -> (usize, &'static str) {
        hasher.write(self.as_bytes());
        (self.chars().count(), "characters")
    }
}

impl Content for Bytes {
    fn measure(&self, hasher: &mut impl Hasher) -> (usize, &'static str) {
        hasher.write(self);
        (self.len(), "bytes")
    }
}

impl Content for Vec<u8> {
    fn measure(&self, hasher: &mut impl Hasher) -> (usize, &'static str) {
        hasher.write(self);
        (self.len(), "bytes")
    }
}

/// The frames of a message.
impl Content for Vec<Bytes> {
    fn measure(&self, hasher: &mut impl Hasher) -> (usize, &'static str) {
        for frame in self {
            hasher.write_usize(frame.len());
            hasher.write(frame);
        }
        (self.iter().map(Bytes::len).sum(), "bytes")
    }
}

impl Content for Arc<[f32]> {
    fn measure(&self, hasher: &mut impl Hasher) -> (usize, &'static str) {
        for value in &**self {
            hasher.write_u32(value.to_bits());
        }
        (self.len(), "values")
    }
}

impl Content for Value {
    fn measure(&self, hasher: &mut impl Hasher) -> (usize, &'static str) {
        let json = self.to_string();
        hasher.write(json.as_bytes());
        (json.len(), "bytes of JSON")
    }
}

impl Content for Map<String, Value> {
    fn measure(&self, hasher: &mut impl Hasher) -> (usize, &'static str) {
        let mut length = 0;
        for (key, value) in self {
            hasher.write(key.as_bytes());
            length += key.len() + value.measure(hasher).0;
        }
        (length, "bytes of JSON")
    }
}

impl<T: Content> fmt::Display for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Shown(&self.0), f)
    }
}

impl<T: Content> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Shown(&self.0), f)
    }
}

/// How private content is shown; for types that are nothing but such content.
pub(super) struct Shown<'a, T>(pub &'a T);

impl<T: Content> fmt::Debug for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut hasher = KEY.build_hasher();
        let (length, unit) = self.0.measure(&mut hasher);
        write!(f, "<{length} {unit} #{:016x}>", hasher.finish())
    }
}

/// Where JSON that may be private is not what it should be: the message of `serde_json` may quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line} column {column}")]
pub struct JsonError {
    problem: &'static str,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self {
            problem: match error.classify() {
                Category::Io => "input or output failed",
                Category::Syntax => "the syntax is wrong",
                Category::Data => "a value is not what it should be",
                Category::Eof => "the end is missing",
            },
            line: error.line(),
            column: error.column(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Message {
        text: PrivateText,
        voice: Option<Private<Value>>,
    }

    #[test]
    fn what_is_shown_is_length_and_hash() {
        let text = PrivateText::from("Élan vital");
        for shown in [format!("{text}"), format!("{text:?}"), format!("{text:#?}")] {
            let hash = shown
                .strip_prefix("<10 characters #")
                .and_then(|rest| rest.strip_suffix('>'))
                .unwrap_or_else(|| panic!("{shown}"));
            assert_eq!(hash.len(), 16, "{shown}");
            assert!(hash.bytes().all(|b| b.is_ascii_hexdigit()), "{shown}");
        }
        let kinds = [
            Private::from(Bytes::from_static(b"abc")).to_string(),
            Private::from(vec![1_u8, 2]).to_string(),
            Private::from(Arc::<[f32]>::from([0.5_f32, 1.5])).to_string(),
            Private::from(json!({"a": 1})).to_string(),
        ];
        let starts = [
            "<3 bytes #",
            "<2 bytes #",
            "<2 values #",
            "<7 bytes of JSON #",
        ];
        for (shown, start) in kinds.iter().zip(starts) {
            assert!(shown.starts_with(start), "{shown}");
        }
    }

    #[test]
    fn equal_contents_have_equal_hashes_and_others_have_not() {
        let shown = |text: &str| PrivateText::from(text).to_string();
        assert_eq!(shown("yes"), shown("yes"));
        assert_ne!(shown("yes"), shown("yet"));
        let voice = |values: [f32; 2]| Private::from(Arc::<[f32]>::from(values)).to_string();
        assert_ne!(voice([0.0, 1.0]), voice([1.0, 0.0]));
    }

    #[test]
    fn a_debug_that_is_derived_is_private_and_serde_is_not() {
        let message = Message {
            text: "a zebra".into(),
            voice: Some(json!({"pitch": 117}).into()),
        };
        let shown = format!("{message:?}");
        assert!(
            !shown.contains("zebra") && !shown.contains("117"),
            "{shown}"
        );
        let wire = json!({"text": "a zebra", "voice": {"pitch": 117}});
        assert_eq!(serde_json::to_value(&message).unwrap(), wire);
        assert_eq!(serde_json::from_value::<Message>(wire).unwrap(), message);
    }

    #[test]
    fn errors_about_json_do_not_quote_it() {
        let error = serde_json::from_str::<Vec<u8>>("[\n  \"a zebra\"]").unwrap_err();
        assert!(error.to_string().contains("a zebra"), "{error}");
        let error = JsonError::from(error);
        let shown = "a value is not what it should be at line 2 column 11";
        assert_eq!(error.to_string(), shown);
        assert!(!format!("{error:?}").contains("zebra"));
        let cut = serde_json::from_str::<Value>("{\"text\": \"a zebra").unwrap_err();
        let shown = "the end is missing at line 1 column 17";
        assert_eq!(JsonError::from(cut).to_string(), shown);
    }
}
