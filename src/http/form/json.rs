//! Bodies of JSON that are read as forms are: an object's members are the fields, and recordings come as base64.

use std::borrow::Cow;
use std::fmt;

use axum::extract::{DefaultBodyLimit, Request};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{Form, MAX_FIELD_BYTES, MAX_FIELDS, too_large_fields, too_many_fields};
use crate::http::body::{BODY, json_body, no_json, no_object};
use crate::http::error::ApiError;
use crate::http::jobs::JobsState;
use crate::http::upload::{Incoming, no_base64};
use crate::ledger::ReceivedUpload;

/// Bytes of a body, which is held as a whole until its recordings are on the disk.
const MAX_BYTES: usize = 16 << 20;
/// Characters of base64 that are decoded together.
const PIECE_CHARACTERS: usize = 64 << 10;

/// The members of an object, as they were written; those that are too many are only counted.
struct Members<'a> {
    kept: Vec<(String, &'a RawValue)>,
    count: usize,
}

impl<'a> Deserialize<'a> for Members<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'a> Visitor<'a> for Object {
            type Value = Members<'a>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < MAX_FIELDS {
                    match map.next_entry()? {
                        Some(member) => kept.push(member),
                        None => break,
                    }
                }
                let mut count = kept.len();
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Members { kept, count })
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl Form {
    /// Reads a body of JSON; members with the names of `files` are recordings as base64.
    ///
    /// # Errors
    /// It is no object, too large, or broken off.
    pub async fn read_json(
        state: &JobsState,
        mut request: Request,
        files: &[&str],
    ) -> Result<Self, ApiError> {
        let mut place = None;
        if !files.is_empty() {
            let free = state.uploads.try_acquire();
            place = Some(free.map_err(|_| ApiError::overloaded())?);
            DefaultBodyLimit::max(MAX_BYTES).apply(&mut request);
        }
        let body = json_body(request).await?;
        let members: Result<Members<'_>, _> = serde_json::from_slice(body.bytes());
        let members = members.map_err(|error| match error.classify() {
            Category::Data => ApiError::invalid(vec![no_object(vec![BODY])]),
            Category::Io | Category::Syntax | Category::Eof => no_json(error),
        })?;
        if members.count > MAX_FIELDS {
            return Err(too_many_fields());
        }
        let (mut form, mut bytes) = (Self::default(), 0);
        for (name, member) in members.kept {
            if files.contains(&name.as_str()) {
                if let Some(base64) = text(member).map_err(|_| no_base64())? {
                    form.add_file(name, received(state, &base64).await?);
                }
                continue;
            }
            bytes += name.len() + member.get().len();
            if bytes > MAX_FIELD_BYTES {
                return Err(too_large_fields());
            }
            form.add_member(name, member).map_err(no_json)?;
        }
        drop(place);
        Ok(form)
    }

    fn add_member(&mut self, name: String, member: &RawValue) -> Result<(), serde_json::Error> {
        match member.get().as_bytes().first() {
            Some(b'n') | None => {}
            Some(b'"') => {
                let value = text(member)?;
                self.add(name, value.unwrap_or_default().into_owned());
            }
            Some(b'{' | b'[') => match json::<Vec<String>>(member) {
                Ok(values) => {
                    for value in values {
                        self.add(name.clone(), value);
                    }
                }
                Err(_) => drop(self.nested.insert(name, member.get().to_owned())),
            },
            Some(_) => {
                self.bare.insert(name.clone());
                self.add(name, member.get().to_owned());
            }
        }
        Ok(())
    }
}

fn json<'a, T: Deserialize<'a>>(member: &'a RawValue) -> Result<T, serde_json::Error> {
    serde_json::from_str(member.get())
}

/// A text, which is not copied where nothing in it is escaped; `None` for null.
fn text(member: &RawValue) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    let text: Option<Text<'_>> = json(member)?;
    Ok(text.map(|Text(text)| text))
}

async fn received(state: &JobsState, base64: &str) -> Result<ReceivedUpload, ApiError> {
    let mut incoming = Incoming::begin(state, true).await?;
    for piece in base64.as_bytes().chunks(PIECE_CHARACTERS) {
        incoming.add(piece).await?;
    }
    incoming.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_as_fields_and_too_many_are_counted() {
        let body = r#"{"text": "caf\u00e9", "list": ["fr", "es"], "number": 4.5, "flag": true,
                       "null": null, "object": {"a": [1]}, "numbers": [1]}"#;
        let members: Members<'_> = serde_json::from_str(body).unwrap();
        assert_eq!((members.kept.len(), members.count), (7, 7));
        let mut form = Form::default();
        for (name, member) in members.kept {
            form.add_member(name, member).unwrap();
        }
        assert_eq!(form.text("text"), Some("café"));
        assert_eq!(form.languages("list").unwrap().len(), 2);
        assert_eq!(form.number("number", 0.0..=5.0), Some(4.5));
        assert!(form.flag("flag", false));
        assert!(!form.has("null") && !form.has("object") && !form.has("numbers"));
        assert_eq!(form.object("object"), Some(serde_json::json!({"a": [1]})));
        // Nobody asked for the list of numbers as a text.
        assert!(form.problems.is_empty());
        assert_eq!(form.text("numbers"), None);
        assert_eq!(form.text("flag"), Some("true"));
        assert!(form.finish().is_err());

        let many: Vec<String> = (0..200).map(|n| format!("\"{n}\": [{n}]")).collect();
        let many = format!("{{{}}}", many.join(","));
        let members: Members<'_> = serde_json::from_str(&many).unwrap();
        assert_eq!((members.kept.len(), members.count), (MAX_FIELDS, 200));
        for other in ["[]", "7", "\"text\"", "null"] {
            let error = serde_json::from_str::<Members<'_>>(other).err().unwrap();
            assert_eq!(error.classify(), Category::Data, "{other}");
        }
    }
}
