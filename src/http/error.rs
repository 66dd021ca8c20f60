//! Errors as clients of the replaced service know them: `{"detail": "…"}`.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::engine::error_chain;

/// When a client may try again that found all places taken.
const RETRY_AFTER_SECONDS: &str = "5";

/// Why a request was not answered.
pub struct ApiError {
    status: StatusCode,
    detail: String,
}

impl ApiError {
    /// An error that the client is told of.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }

    /// Too much waits already; it is worth another try soon.
    pub fn overloaded() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too much is waiting")
    }

    /// Our fault: the log tells more than the client is told.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %error_chain(error), "http request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "detail": self.detail }));
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let retry_after = [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)];
            return (self.status, retry_after, body).into_response();
        }
        (self.status, body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_at_a_bad_time_is_told_when_to_come_again() {
        let response = ApiError::overloaded().into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], RETRY_AFTER_SECONDS);
        let response = ApiError::new(StatusCode::NOT_FOUND, "no").into_response();
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }
}
