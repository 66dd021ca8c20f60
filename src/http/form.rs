//! Bodies that are forms: their fields, and recordings, which go to the disk piece by piece.

mod head;
mod json;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request};
use axum::http::{StatusCode, header};

use serde_json::Value;
use utoipa::ToSchema;

use head::PartHead;

use super::error::{ApiError, FieldProblem, Place};
use super::held::{HeldBody, unread};
use super::jobs::JobsState;
use super::upload::{Incoming, too_large};
use crate::domain::Language;
use crate::ledger::ReceivedUpload;
use crate::protocol::{MAX_METADATA_BYTES, MAX_TARGET_LANGUAGES, fits_into_request};

/// Fields of one form, files included.
const MAX_FIELDS: usize = 128;
/// Bytes of all fields together that are no files.
const MAX_FIELD_BYTES: usize = 1 << 20;
/// What a body may have beside a recording.
const OVERHEAD_BYTES: u64 = 2 << 20;
/// Longest id, as in requests over ZeroMQ.
pub const MAX_ID_BYTES: usize = 512;

/// How fields begin whose files come as base64.
const BASE64: &str = "audio_base64";

/// A recording, or speech.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(
    dead_code,
    reason = "it describes bytes, which are read piece by piece"
)]
pub struct AudioFile(Vec<u8>);

/// A form that was read.
#[derive(Default)]
pub struct Form {
    /// The values of each field, in order.
    fields: HashMap<String, Vec<String>>,
    files: HashMap<String, ReceivedUpload>,
    /// What is neither a text nor a list of texts, as it was written in JSON; forms have none.
    nested: HashMap<String, String>,
    /// Numbers and flags of JSON, which are no texts; in forms all is written.
    bare: HashSet<String>,
    /// The fields that were asked for, and whether their text was.
    asked: RefCell<BTreeMap<&'static str, bool>>,
    /// Fields that are not as they have to be.
    problems: Vec<FieldProblem>,
}

fn too_many_fields() -> ApiError {
    let detail = format!("A form has at most {MAX_FIELDS} fields");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

impl Form {
    /// Reads the body of a request; fields with these names are files.
    ///
    /// # Errors
    /// It is no form, too large, or broken off.
    pub async fn read(
        state: &JobsState,
        request: Request,
        files: &[&str],
    ) -> Result<Self, ApiError> {
        let _place = state
            .uploads
            .try_acquire()
            .map_err(|_| ApiError::overloaded())?;
        if content_type(&request).starts_with("application/x-www-form-urlencoded") {
            Self::read_url_encoded(state, request, files).await
        } else {
            Self::read_multipart(state, request, files).await
        }
    }

    /// Reads what comes as a whole; of files only what is text.
    async fn read_url_encoded(
        state: &JobsState,
        mut request: Request,
        files: &[&str],
    ) -> Result<Self, ApiError> {
        // Each byte may be three characters.
        DefaultBodyLimit::max(3 * MAX_FIELD_BYTES).apply(&mut request);
        let body = HeldBody::read(request).await?;
        // Before millions of them are read.
        if body.bytes().iter().filter(|byte| **byte == b'&').count() >= MAX_FIELDS {
            return Err(too_many_fields());
        }
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body.bytes()) {
            if name == BASE64 && files.contains(&BASE64) {
                let mut incoming = Incoming::begin(state, true).await?;
                incoming.add(value.as_bytes()).await?;
                form.add_file(name.into_owned(), incoming.finish().await?);
            } else {
                form.add(name.into_owned(), value.into_owned());
            }
        }
        Ok(form)
    }

    async fn read_multipart(
        state: &JobsState,
        request: Request,
        files: &[&str],
    ) -> Result<Self, ApiError> {
        let max_bytes = state.max_upload_bytes();
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > max_bytes.saturating_add(OVERHEAD_BYTES)) {
            return Err(too_large(max_bytes));
        }
        let head = Arc::new(PartHead::default());
        let mut multipart = Multipart::from_request(head.bound(request), &()).await?;
        let (mut form, mut bytes, mut count) = (Self::default(), 0, 0);
        while let Some(field) = head.read(multipart.next_field()).await? {
            count += 1;
            if count > MAX_FIELDS {
                return Err(too_many_fields());
            }
            let Some(name) = field.name().map(str::to_owned) else {
                let detail = "A part of the form has no name";
                return Err(ApiError::new(StatusCode::BAD_REQUEST, detail));
            };
            if files.contains(&name.as_str()) {
                let upload = received(state, field, name == BASE64).await?;
                form.add_file(name, upload);
                continue;
            }
            let value = text(field, MAX_FIELD_BYTES.saturating_sub(bytes)).await?;
            bytes += value.len();
            form.add(name, value);
        }
        Ok(form)
    }

    fn add(&mut self, name: String, value: String) {
        self.fields.entry(name).or_default().push(value);
    }

    /// An empty file is none.
    fn add_file(&mut self, name: String, upload: ReceivedUpload) {
        if upload.size_bytes() > 0 {
            self.files.insert(name, upload);
        }
    }

    /// A recording; `None` when there is none, or an empty one.
    pub fn file(&mut self, name: &str) -> Option<ReceivedUpload> {
        self.files.remove(name)
    }

    /// True when there is such a field, even a blank one.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// The last value of a field; a blank one counts as absent.
    pub fn text(&self, name: &'static str) -> Option<&str> {
        self.value(name, true)
    }

    fn value(&self, name: &'static str, is_text: bool) -> Option<&str> {
        *self.asked.borrow_mut().entry(name).or_default() |= is_text;
        let value = self.fields.get(name)?.last()?.as_str();
        (!value.trim().is_empty()).then_some(value)
    }

    /// An id that may be absent.
    ///
    /// # Errors
    /// It is too long.
    pub fn id(&self, name: &'static str) -> Result<Option<String>, ApiError> {
        let id = self.text(name).map(str::trim);
        if id.is_some_and(|id| id.len() > MAX_ID_BYTES) {
            let detail = format!("{name} has at most {MAX_ID_BYTES} bytes");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, detail));
        }
        Ok(id.map(str::to_owned))
    }

    /// An id that has to be there; empty, and noted, when it is not.
    ///
    /// # Errors
    /// It is too long.
    pub fn required_id(&mut self, name: &'static str) -> Result<String, ApiError> {
        let id = self.id(name)?;
        Ok(id.unwrap_or_else(|| {
            self.missing(name);
            String::new()
        }))
    }

    /// A language; `None`, and noted, when it is none.
    pub fn language(&mut self, name: &'static str) -> Option<Language> {
        let code = self.text(name)?;
        let language = Language::parse(code.trim());
        if language.is_none() {
            self.wrong(name, "Not a language", "language");
        }
        language
    }

    /// Languages with commas, or in several fields; `None` when there is no such field.
    pub fn languages(&mut self, name: &'static str) -> Option<Vec<Language>> {
        let codes: Vec<String> = self
            .fields
            .get(name)?
            .iter()
            .flat_map(|value| value.split(','))
            .map(|code| code.trim().to_owned())
            .filter(|code| !code.is_empty())
            .collect();
        let languages: Vec<Language> = codes
            .iter()
            .filter_map(|code| Language::parse(code))
            .collect();
        if languages.len() < codes.len() {
            self.wrong(name, "Not a language", "language");
        } else if languages.len() > MAX_TARGET_LANGUAGES {
            let msg = format!("At most {MAX_TARGET_LANGUAGES} languages are expected");
            self.wrong(name, &msg, "too_long");
        }
        Some(languages)
    }

    /// Yes or no; `default`, and noted, when it is neither.
    pub fn flag(&mut self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.value(name, false) else {
            return default;
        };
        match value.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.wrong(name, "Not a boolean", "bool_parsing");
                default
            }
        }
    }

    /// One of some values; the first of them, and noted, when it is another.
    pub fn choice(&mut self, name: &'static str, among: &[&'static str]) -> &'static str {
        let default = among.first().copied().unwrap_or_default();
        let Some(value) = self
            .text(name)
            .map(|value| value.trim().to_ascii_lowercase())
        else {
            return default;
        };
        let known = among.iter().copied().find(|known| *known == value);
        known.unwrap_or_else(|| {
            let msg = format!("One of {} is expected", among.join(", "));
            self.wrong(name, &msg, "literal_error");
            default
        })
    }

    /// A number in a range; `None`, and noted, when it is another, or none.
    pub fn number<N>(&mut self, name: &'static str, range: RangeInclusive<N>) -> Option<N>
    where
        N: FromStr + PartialOrd + Display,
    {
        let number = self.value(name, false)?.trim().parse().ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            let msg = format!("A number in {least} to {most} is expected");
            self.wrong(name, &msg, "number");
        }
        number
    }

    /// A small object of the client's own, which a form has as JSON; `None`, and noted, when it is none, or large.
    pub fn object(&mut self, name: &'static str) -> Option<Value> {
        let written = self.nested.get(name).map(String::as_str);
        let written = written.or_else(|| self.text(name))?;
        let is_small = written.len() <= MAX_METADATA_BYTES && fits_into_request(written);
        let object = is_small
            .then(|| serde_json::from_str(written).ok())
            .flatten()
            .filter(Value::is_object);
        if object.is_none() {
            let msg = format!("An object of at most {MAX_METADATA_BYTES} bytes is expected");
            self.wrong(name, &msg, "dict_type");
        }
        object
    }

    /// A number that has to be there; `None`, and noted, when it is not, or outside the range.
    pub fn required_number<N>(&mut self, name: &'static str, range: RangeInclusive<N>) -> Option<N>
    where
        N: FromStr + PartialOrd + Display,
    {
        if self.value(name, false).is_none() {
            self.missing(name);
        }
        self.number(name, range)
    }

    /// Notes that a field is not there.
    pub fn missing(&mut self, name: &'static str) {
        self.wrong(name, "Field required", "missing");
    }

    /// Notes what is wrong with a field. Only the first problem of each field is kept.
    pub fn wrong(&mut self, name: &'static str, msg: &str, kind: &'static str) {
        let loc = vec![Place::Name("body"), Place::Name(name)];
        if self.problems.iter().all(|known| known.loc != loc) {
            let msg = msg.to_owned();
            self.problems.push(FieldProblem { loc, msg, kind });
        }
    }

    /// Ends with the form, so that nothing of it is held while its job is waited for.
    ///
    /// # Errors
    /// Fields were noted, or are no texts although they were asked for as such.
    pub fn finish(mut self) -> Result<(), ApiError> {
        let asked = std::mem::take(self.asked.get_mut()).into_iter();
        for (name, is_text) in asked {
            if self.nested.contains_key(name) || (is_text && self.bare.contains(name)) {
                self.wrong(name, "Input should be a valid string", "string_type");
            }
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(self.problems))
    }
}

impl JobsState {
    /// Bytes of a recording at most.
    pub(super) fn max_upload_bytes(&self) -> u64 {
        self.pipeline.options.decode_limits.max_bytes as u64
    }

    /// Bytes of a body at most.
    pub(super) fn max_body_bytes(&self) -> usize {
        let bytes = self.max_upload_bytes().saturating_add(OVERHEAD_BYTES);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

fn content_type(request: &Request) -> String {
    let value = request.headers().get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

async fn received(
    state: &JobsState,
    mut field: Field<'_>,
    is_base64: bool,
) -> Result<ReceivedUpload, ApiError> {
    let mut incoming = Incoming::begin(state, is_base64).await?;
    while let Some(piece) = field.chunk().await.map_err(broken)? {
        incoming.add(&piece).await?;
    }
    incoming.finish().await
}

async fn text(mut field: Field<'_>, max_bytes: usize) -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(broken)? {
        if bytes.len() + piece.len() > max_bytes {
            return Err(too_large_fields());
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes).map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "A field is not UTF-8; recordings have fields of their own",
        )
    })
}

fn too_large_fields() -> ApiError {
    let detail = format!("The fields of a form have at most {MAX_FIELD_BYTES} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn broken(error: MultipartError) -> ApiError {
    match error.status() {
        // Nothing here fails when it reads: it is the body that does not come.
        StatusCode::INTERNAL_SERVER_ERROR => unread(&error),
        // The error itself may quote names that the client has written.
        status => ApiError::new(status, "The form is damaged, or breaks off"),
    }
}
