//! Tokens that clients show as `Authorization: Bearer …`.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use crate::domain::digest::sha256_hex;

/// A token that clients show, by its digest only.
#[derive(Clone)]
pub struct BearerToken(String);

impl BearerToken {
    /// The token whose text this is.
    pub fn new(token: &str) -> Self {
        Self(sha256_hex(token.as_bytes()))
    }

    /// True when a request shows it.
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok()?.split_once(' '));
        shown.is_some_and(|(scheme, shown)| {
            scheme.eq_ignore_ascii_case("bearer") && self.is(shown.trim())
        })
    }

    /// Compares in a time that tells nothing of either token: digests are equally long, and every byte of
    /// them is looked at.
    fn is(&self, shown: &str) -> bool {
        let shown = sha256_hex(shown.as_bytes());
        let pairs = self.0.bytes().zip(shown.bytes());
        pairs.fold(0, |unlike, (ours, theirs)| unlike | (ours ^ theirs)) == 0
    }
}

/// Lets only those use the routes who show the token; everybody where there is none.
pub(super) fn protect(router: Router, token: Option<BearerToken>) -> Router {
    match token {
        Some(token) => router.route_layer(middleware::from_fn_with_state(token, check)),
        None => router,
    }
}

async fn check(State(token): State<BearerToken>, request: Request, next: Next) -> Response {
    if token.is_shown(request.headers()) {
        next.run(request).await
    } else {
        unauthorized("The token is missing or wrong")
    }
}

/// The answer to who shows no token, or a wrong one.
pub(super) fn unauthorized(detail: &str) -> Response {
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, detail).into_response();
    let challenge = HeaderValue::from_static("Bearer realm=\"translator\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_is_the_token() {
        let token = BearerToken::new("0123456789abcdef");
        assert!(token.is("0123456789abcdef"));
        for other in [
            "",
            "0123456789abcdeg",
            "0123456789abcde",
            "0123456789abcdef0",
        ] {
            assert!(!token.is(other), "{other}");
        }
        assert!(!token.0.contains("0123456789abcdef"));
    }

    #[test]
    fn it_is_shown_as_a_bearer_token_only() {
        let token = BearerToken::new("0123456789abcdef");
        let shown = |value: &'static str| {
            let headers = [(header::AUTHORIZATION, HeaderValue::from_static(value))];
            token.is_shown(&HeaderMap::from_iter(headers))
        };
        assert!(shown("Bearer 0123456789abcdef"));
        assert!(shown("bearer  0123456789abcdef"));
        for other in ["0123456789abcdef", "Basic 0123456789abcdef", "Bearer"] {
            assert!(!shown(other), "{other}");
        }
        assert!(!token.is_shown(&HeaderMap::new()));
    }
}
