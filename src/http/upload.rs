//! Recordings of forms on their way to the disk.

use std::borrow::Cow;

use axum::http::StatusCode;

use super::base64::Base64Decoder;
use super::error::ApiError;
use super::jobs::JobsState;
use crate::ledger::{LedgerError, ReceivedUpload, Upload};

/// A recording that comes piece by piece; dropped, what has come of it is deleted.
pub struct Incoming<'a> {
    state: &'a JobsState,
    upload: Upload,
    /// Reads one that comes as base64, perhaps as a `data:` URL.
    base64: Option<Base64Decoder>,
}

impl<'a> Incoming<'a> {
    /// Begins to receive a recording.
    ///
    /// # Errors
    /// The disk takes nothing.
    pub async fn begin(state: &'a JobsState, is_base64: bool) -> Result<Self, ApiError> {
        let begun = state.pipeline.ledger.begin_upload().await;
        Ok(Self {
            upload: noted(state, begun)?,
            base64: is_base64.then(Base64Decoder::default),
            state,
        })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// It is too much, no base64 where that is expected, or the disk takes nothing more.
    pub async fn add(&mut self, piece: &[u8]) -> Result<(), ApiError> {
        let piece = match &mut self.base64 {
            Some(decoder) => Cow::Owned(decoder.decode(piece).ok_or_else(no_base64)?),
            None => Cow::Borrowed(piece),
        };
        let max_bytes = self.state.max_upload_bytes();
        if self.upload.size_bytes() + piece.len() as u64 > max_bytes {
            return Err(too_large(max_bytes));
        }
        noted(self.state, self.upload.write(&piece).await)
    }

    /// The recording, which survives a power cut from now on.
    ///
    /// # Errors
    /// Its base64 is not whole, or the disk takes nothing more.
    pub async fn finish(mut self) -> Result<ReceivedUpload, ApiError> {
        if let Some(decoder) = self.base64.take() {
            let rest = decoder.finish().ok_or_else(no_base64)?;
            noted(self.state, self.upload.write(&rest).await)?;
        }
        noted(self.state, self.upload.finish().await)
    }
}

/// What is said to who sends more than a recording may have.
pub fn too_large(max_bytes: u64) -> ApiError {
    let detail = format!("Audio is larger than {max_bytes} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// What is said to who sends something else as base64.
pub fn no_base64() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "The audio is not base64")
}

/// Tells the storage of a disk that takes nothing.
fn noted<T>(state: &JobsState, result: Result<T, LedgerError>) -> Result<T, ApiError> {
    Ok(result.inspect_err(|error| {
        state.pipeline.ledger.note_storage(error);
    })?)
}
