//! The console: a page at `/` on which people try the daemon and watch it. It is plain files, all of them part of the
//! binary, and uses the same API as everybody.

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;

use crate::domain::digest::sha256_hex;

/// Files of the folder `console`, by their path in it.
macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(File {
            path: $path,
            body: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/console/", $path)),
        }),*]
    };
}

struct File {
    path: &'static str,
    body: &'static [u8],
}

const PAGE: File = File {
    path: "index.html",
    body: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/console/index.html")),
};

const FILES: &[File] = files![
    "icon.svg",
    "js/api.js",
    "js/card.js",
    "js/composer.js",
    "js/connection.js",
    "js/daemon.js",
    "js/dom.js",
    "js/errors.js",
    "js/i18n.js",
    "js/jobs.js",
    "js/main.js",
    "js/player.js",
    "js/recorder.js",
    "js/result.js",
    "js/session.js",
    "js/stages.js",
    "js/waveform.js",
    "lang/en.js",
    "lang/fr.js",
    "style/activity.css",
    "style/base.css",
    "style/work.css",
];

/// Nothing comes from elsewhere, nothing is inline, and no other page may frame this one. Recordings are played from
/// memory, since what plays them cannot show a token.
const POLICY: &str = "default-src 'self'; media-src 'self' blob:; object-src 'none'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What all files are served with.
const HEADERS: [(&str, &str); 4] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    // Browsers ask each time, by the digest: a new daemon has new files, and no old one goes with them.
    ("cache-control", "no-cache"),
];

/// The page at `/`, and what it is made of under `/console`.
pub fn routes() -> Router {
    let page = Router::new().route("/", serve(&PAGE));
    FILES.iter().fold(page, |router, file| {
        router.route(&format!("/console/{}", file.path), serve(file))
    })
}

fn serve(file: &'static File) -> MethodRouter {
    let tag = format!("\"{}\"", sha256_hex(file.body));
    get(move |headers: HeaderMap| async move { answer(file, &tag, &headers) })
}

fn answer(file: &File, tag: &str, headers: &HeaderMap) -> Response {
    let tagged = [(header::ETAG, tag)];
    if is_known(tag, headers) {
        return (StatusCode::NOT_MODIFIED, HEADERS, tagged).into_response();
    }
    let content_type = [(header::CONTENT_TYPE, content_type(file.path))];
    let body = Bytes::from_static(file.body);
    (HEADERS, tagged, content_type, body).into_response()
}

/// True when the client has the file with this tag.
fn is_known(tag: &str, headers: &HeaderMap) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
