//! Bodies that are held as a whole. What they take together is bounded: clients that send slowly, or never end, must
//! not fill the memory.

use std::error::Error;

use axum::RequestExt as _;
use axum::extract::Request;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use http_body_util::LengthLimitError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tower_http::timeout::TimeoutError;

use super::error::ApiError;
use super::layers::TooSlow;

/// What each body may take however many others are held, so that a message always gets in.
const FREE_BYTES: usize = 64 << 10;
/// What all bodies may take together beyond that.
const MAX_BYTES: usize = 64 << 20;

static PLACES: Semaphore = Semaphore::const_new(MAX_BYTES);

/// A body; what it takes is free again once it is dropped.
pub struct HeldBody {
    bytes: Vec<u8>,
    places: SemaphorePermit<'static>,
}

impl HeldBody {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// It is larger than its route allows, does not come in time or not to its end, or others hold too much.
    pub async fn read(request: Request) -> Result<Self, ApiError> {
        let mut pieces = request.into_limited_body().into_data_stream();
        let mut body = Self {
            bytes: Vec::new(),
            places: places(0)?,
        };
        while let Some(piece) = pieces.next().await {
            body.add(&piece.map_err(|error| unread(&error))?)?;
        }
        Ok(body)
    }

    /// What has come.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), ApiError> {
        self.bytes.extend_from_slice(piece);
        let taken = self.bytes.capacity().saturating_sub(FREE_BYTES);
        let more = places(taken.saturating_sub(self.places.num_permits()))?;
        self.places.merge(more);
        Ok(())
    }
}

fn places(bytes: usize) -> Result<SemaphorePermit<'static>, ApiError> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    PLACES
        .try_acquire_many(bytes)
        .map_err(|_| ApiError::overloaded())
}

/// Why a body was not read to its end.
pub fn unread(error: &(dyn Error + 'static)) -> ApiError {
    let causes = || std::iter::successors(Some(error), |cause| (*cause).source());
    if causes().any(|cause| cause.is::<LengthLimitError>()) {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large")
    } else if causes().any(|cause| cause.is::<TimeoutError>() || cause.is::<TooSlow>()) {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "The body did not come in time")
    } else {
        ApiError::new(StatusCode::BAD_REQUEST, "The body breaks off or is damaged")
    }
}
