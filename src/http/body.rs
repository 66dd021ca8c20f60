//! JSON bodies, and what is wrong with them as FastAPI tells it: every field at once, never what was sent.

use std::ops::RangeInclusive;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::{ApiError, FieldProblem, Place};
use super::held::HeldBody;
use crate::domain::JsonError;

/// The body of a request.
pub const BODY: Place = Place::Name("body");

/// A body that is JSON, of up to 2 MiB where its route says nothing else.
pub struct JsonBody(pub Value);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = json_body(request).await?;
        Ok(Self(serde_json::from_slice(body.bytes()).map_err(no_json)?))
    }
}

/// A body that says that it is JSON, of as many bytes as its route takes.
pub(super) async fn json_body(request: Request) -> Result<HeldBody, ApiError> {
    if !is_json(request.headers()) {
        let detail = "The body has to be application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    HeldBody::read(request).await
}

/// The body is none.
pub(super) fn no_json(error: serde_json::Error) -> ApiError {
    ApiError::invalid(vec![FieldProblem {
        loc: vec![BODY, Place::Index(error.column())],
        msg: "JSON decode error".to_owned(),
        kind: "json_invalid",
    }])
}

/// It is JSON, and no object.
pub(super) fn no_object(loc: Vec<Place>) -> FieldProblem {
    FieldProblem {
        loc,
        msg: "Input should be a valid dictionary".to_owned(),
        kind: "model_attributes_type",
    }
}

/// What says nothing is taken for JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let essence = kind.to_str().unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// What is told to the gateway in camel case, in snake case.
pub(super) fn retold<T: DeserializeOwned>(told: &impl Serialize) -> Result<T, ApiError> {
    let retold = serde_json::to_vec(told).and_then(|json| serde_json::from_slice(&json));
    retold.map_err(|error| ApiError::internal(&JsonError::from(error)))
}

/// The fields of an object, taken one by one; what is wrong with them is told at the end.
pub struct Fields {
    place: Vec<Place>,
    object: Map<String, Value>,
    problems: Vec<FieldProblem>,
}

impl Fields {
    /// The fields of what stands at `place`.
    pub fn of(value: Value, place: Vec<Place>) -> Self {
        let (object, problems) = match value {
            Value::Object(object) => (object, Vec::new()),
            _ => (Map::new(), vec![no_object(place.clone())]),
        };
        Self {
            place,
            object,
            problems,
        }
    }

    /// A text of so many characters that has to be there; empty when it is not.
    pub fn text(&mut self, name: &'static str, lengths: RangeInclusive<usize>) -> String {
        match self.object.remove(name) {
            Some(Value::String(text)) => self.checked(name, text, lengths),
            Some(_) => self.wrong_type(name),
            None => {
                self.problem(name, "missing", "Field required".to_owned());
                String::new()
            }
        }
    }

    /// A text that may be absent, or null.
    pub fn optional_text(
        &mut self,
        name: &'static str,
        lengths: RangeInclusive<usize>,
    ) -> Option<String> {
        match self.object.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(self.checked(name, text, lengths)),
            Some(_) => Some(self.wrong_type(name)),
        }
    }

    /// Notes what is wrong with a field; only the first problem of each is kept.
    pub fn problem(&mut self, name: &'static str, kind: &'static str, msg: String) {
        let mut loc = self.place.clone();
        loc.push(Place::Name(name));
        if self.problems.is_empty() || self.problems.iter().all(|known| known.loc != loc) {
            self.problems.push(FieldProblem { loc, msg, kind });
        }
    }

    /// What is wrong, if anything.
    pub fn problems(self) -> Vec<FieldProblem> {
        // Of what is no object it is enough to say that.
        let is_no_object = self
            .problems
            .iter()
            .any(|problem| problem.loc == self.place);
        let mut problems = self.problems;
        if is_no_object {
            problems.truncate(1);
        }
        problems
    }

    fn checked(
        &mut self,
        name: &'static str,
        text: String,
        lengths: RangeInclusive<usize>,
    ) -> String {
        let length = text.chars().count();
        let characters = |count: usize| match count {
            1 => "1 character".to_owned(),
            count => format!("{count} characters"),
        };
        if length < *lengths.start() {
            let least = characters(*lengths.start());
            let msg = format!("String should have at least {least}");
            self.problem(name, "string_too_short", msg);
        } else if length > *lengths.end() {
            let most = characters(*lengths.end());
            let msg = format!("String should have at most {most}");
            self.problem(name, "string_too_long", msg);
        }
        text
    }

    fn wrong_type(&mut self, name: &'static str) -> String {
        self.problem(
            name,
            "string_type",
            "Input should be a valid string".to_owned(),
        );
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kinds(fields: Fields) -> Vec<(Vec<Place>, &'static str)> {
        let problems = fields.problems().into_iter();
        problems
            .map(|problem| (problem.loc, problem.kind))
            .collect()
    }

    #[test]
    fn all_fields_that_are_wrong_are_told_and_each_once() {
        let json = json!({ "a": 1, "b": "", "c": "long", "d": null, "e": "fits" });
        let mut fields = Fields::of(json, vec![BODY, Place::Index(3)]);
        fields.text("a", 1..=9);
        fields.text("b", 1..=9);
        fields.text("c", 1..=3);
        assert_eq!(fields.optional_text("d", 1..=9), None);
        assert_eq!(fields.text("e", 1..=4), "fits");
        fields.text("f", 1..=9);
        fields.problem("f", "value_error", "again".to_owned());
        let at = |name| vec![BODY, Place::Index(3), Place::Name(name)];
        assert_eq!(
            kinds(fields),
            [
                (at("a"), "string_type"),
                (at("b"), "string_too_short"),
                (at("c"), "string_too_long"),
                (at("f"), "missing"),
            ]
        );
    }

    #[test]
    fn what_is_no_object_is_told_once() {
        let mut fields = Fields::of(json!("text"), vec![BODY]);
        fields.text("a", 1..=9);
        assert_eq!(kinds(fields), [(vec![BODY], "model_attributes_type")]);
    }
}
