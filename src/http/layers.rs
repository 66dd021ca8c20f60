//! What all routes have in common: ids of requests, panics, other origins, time, paths that are none.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, Any as AnyOrigin, CorsLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::Instrument as _;
use uuid::Uuid;

use super::error::ApiError;
use crate::observe::metrics::HTTP_DURATION;

/// The header that names a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that a client may give.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Time between two pieces of a body, and time after its first piece in which it may be as slow as it likes.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a body for each second after that, at least: whoever sends more slowly holds a place that others wait for.
const LEAST_BYTES_PER_SEC: f64 = 1024.0;

/// How long a browser may remember what it may send.
const CORS_MAX_AGE: Duration = Duration::from_secs(3_600);

/// Gives the routes what they have in common. An answer begins within `limit`.
pub(super) fn wrap(router: Router, limit: Duration) -> Router {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(limit, in_time))
        .layer(middleware::map_request(paced))
        .layer(RequestBodyTimeoutLayer::new(BODY_PATIENCE))
        .layer(cors())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(part))
        .layer(middleware::from_fn(identify))
}

async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Not Found")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// What the panic says may quote a text: the hook of the process has told of it what may be told.
fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    let detail = "Internal server error";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
}

/// Pages of any origin may ask, as with the service that this daemon replaces.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AnyOrigin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(AnyOrigin)
        .max_age(CORS_MAX_AGE)
}

/// Gives up on what takes too long; dropped, it stops.
async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(limit, next.run(request)).await;
    answer.unwrap_or_else(|_| ApiError::timeout("It took too long").into_response())
}

/// A body that comes too slowly as a whole, though each of its pieces comes in time.
#[derive(Debug, thiserror::Error)]
#[error("the body comes too slowly")]
pub struct TooSlow;

/// Gives up on a body that comes too slowly.
async fn paced(request: Request) -> Request {
    if request.body().size_hint().exact() == Some(0) {
        return request;
    }
    request.map(|body| {
        let (mut began, mut bytes) = (None, 0);
        let pieces = body.into_data_stream().map(move |piece| {
            let piece = piece?;
            bytes += piece.len();
            let elapsed = began.get_or_insert_with(Instant::now).elapsed();
            let allowed =
                BODY_PATIENCE + Duration::from_secs_f64(bytes as f64 / LEAST_BYTES_PER_SEC);
            if elapsed > allowed {
                return Err(axum::Error::new(TooSlow));
            }
            Ok(piece)
        });
        Body::from_stream(pieces)
    })
}

/// Ends the connection with a refusal: its body may not have been read, so nothing can follow it. A client that is not
/// told so sends its next request into a connection that closes.
async fn part(request: Request, next: Next) -> Response {
    let has_body = request.body().size_hint().upper() != Some(0);
    let mut response = next.run(request).await;
    let status = response.status();
    if has_body && (status.is_client_error() || status.is_server_error()) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Names the request, in the log and in the answer, and measures it.
async fn identify(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| is_sane(id.as_bytes()))
        .cloned()
        .unwrap_or_else(new_id);
    let method = method_name(request.method());
    // Not the path itself: ids of users are in it.
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned());
    let shown = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("http", request.id = shown, method, route);
    let mut response = next.run(request).instrument(span.clone()).await;
    response.headers_mut().insert(REQUEST_ID, id);
    let (status, duration) = (response.status().as_u16(), started.elapsed());
    span.in_scope(|| {
        let duration_ms = duration.as_millis() as u64;
        tracing::debug!(status, duration_ms, "http request answered");
    });
    metrics::histogram!(
        HTTP_DURATION,
        "method" => method,
        "route" => route,
        "status" => status.to_string()
    )
    .record(duration.as_secs_f64());
    response
}

fn is_sane(id: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

fn new_id() -> HeaderValue {
    // Hexadecimal digits and hyphens always are a header's value.
    HeaderValue::from_str(&Uuid::new_v4().to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// Clients may invent methods, and metrics must not.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_name_its_requests_within_reason() {
        for id in ["7", "0f5d5c5e-8a4e-4b52-9d3c-6f0a1a3c2b1d", "a/b?c=d"] {
            assert!(is_sane(id.as_bytes()), "{id}");
        }
        for id in ["", "a b", "a\u{7f}", "\u{e9}"] {
            assert!(!is_sane(id.as_bytes()), "{id:?}");
        }
        assert!(is_sane(&[b'a'; 128]) && !is_sane(&[b'a'; 129]));
        assert!(is_sane(new_id().as_bytes()));
    }
}
