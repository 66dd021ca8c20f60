//! What the routes are, for programs and people: `/openapi.json` and `/docs`.

use std::collections::BTreeSet;

use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, OpenApi, Paths, Ref, RefOr, ResponseBuilder};

use super::error::{ErrorBody, InvalidBody};
use super::{
    admin, audio, catalogue, files, jobs, probes, speech, text, tts_models, v1, voice_api, voices,
};

/// Where the document is.
const DOCUMENT: &str = "/openapi.json";
/// Where it is shown.
const VIEWER: &str = "/docs";

/// The security schemes by their names in the document.
const TOKEN: &str = "token";
const ADMIN_TOKEN: &str = "admin_token";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "meeshy-translator",
        description = "Speech and texts in other languages. Errors are `{\"detail\": …}`; every answer has \
                       the header `x-request-id`.",
    ),
    components(schemas(
        ErrorBody,
        InvalidBody,
        jobs::StageNews,
        jobs::Heard,
        jobs::TranslatedLanguage,
        jobs::SpokenLanguage,
    )),
    tags(
        (name = "probes", description = "How the daemon is"),
        (name = "texts", description = "Texts in other languages"),
        (name = "audio", description = "Recordings and speech. What takes long is a job: with the header \
                                        `Prefer: respond-async` the answer is that job, without it what the \
                                        job has brought; who leaves then cancels it"),
        (name = "jobs", description = "What takes long"),
        (name = "files", description = "Speech that was made"),
        (name = "catalogue", description = "What is installed, and what waits"),
        (name = "voices", description = "The voices of users"),
        (name = "voice api", description = "What an app asks about voices"),
        (name = "admin", description = "Jobs and figures, for operators"),
    ),
)]
struct Document;

/// The description of all routes, in OpenAPI 3.1.
pub fn document() -> OpenApi {
    let mut document = Document::openapi();
    document.merge(probes::operations().into_openapi());
    document.merge(text::operations().into_openapi());
    document.merge(audio::operations().into_openapi());
    document.merge(speech::operations().into_openapi());
    document.merge(v1::operations().into_openapi());
    document.merge(voice_api::operations().into_openapi());
    document.merge(jobs::operations().into_openapi());
    document.merge(files::operations().into_openapi());
    document.merge(catalogue::operations().into_openapi());
    document.merge(tts_models::operations().into_openapi());
    document.merge(voices::operations().into_openapi());
    document.merge(admin::operations().into_openapi());
    complete(&mut document);
    document
}

/// The routes of the document and its viewer, for everybody.
pub fn routes() -> Router {
    let document = document();
    Router::new()
        .route(DOCUMENT, get(|| async { Json(document) }))
        .route(VIEWER, get(viewer))
}

/// A page that shows the document and sends requests. It is one file, and loads nothing from elsewhere.
async fn viewer() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; media-src blob:; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [(header::CONTENT_SECURITY_POLICY, policy)];
    (headers, Html(include_str!("viewer.html")))
}

/// Adds what all operations have in common.
fn complete(document: &mut OpenApi) {
    let bearer = |description: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(scheme.description(Some(description)).build())
    };
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, bearer("`http.token`, where there is one"));
    components.add_security_scheme(ADMIN_TOKEN, bearer("`http.admin_token`"));
    rename(&mut document.paths);
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        let has_tag = |name: &str| {
            let tags = operation.tags.iter().flatten();
            tags.into_iter().any(|tag| tag == name)
        };
        if has_tag("probes") {
            continue;
        }
        let is_admin = has_tag("admin");
        operation.security = Some(if is_admin {
            vec![SecurityRequirement::new(ADMIN_TOKEN, [] as [&str; 0])]
        } else {
            let nobody_asks = SecurityRequirement::default();
            vec![
                nobody_asks,
                SecurityRequirement::new(TOKEN, [] as [&str; 0]),
            ]
        });
        refuse(operation, "401", "The token is missing or wrong");
        if is_admin {
            refuse(operation, "403", "No admin token is configured");
        }
        refuse(operation, "500", "It is the daemon's fault");
        refuse(operation, "504", "It took too long");
        let retry_after = "Seconds until it is worth another try";
        tell(operation, "401", "WWW-Authenticate", "`Bearer`");
        tell(operation, "429", "Retry-After", retry_after);
        tell(operation, "503", "Retry-After", retry_after);
    }
}

/// Writes paths as OpenAPI does, and gives operations other names that are served under `/v1` too.
fn rename(paths: &mut Paths) {
    // Only axum marks what stands for several steps.
    let renamed = std::mem::take(&mut paths.paths).into_iter();
    paths.paths = renamed
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    let names: BTreeSet<String> = paths.paths.keys().cloned().collect();
    for (path, item) in &mut paths.paths {
        let is_served_twice = path
            .strip_prefix("/v1")
            .is_some_and(|path| names.contains(path));
        for operation in operations(item).filter(|_| is_served_twice) {
            if let Some(id) = &mut operation.operation_id {
                id.insert_str(0, "v1_");
            }
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut path.get,
        &mut path.put,
        &mut path.post,
        &mut path.delete,
    ]
    .into_iter()
    .flatten()
}

/// Adds an answer that says why there is no other.
fn refuse(operation: &mut Operation, status: &str, description: &str) {
    let body = Ref::from_schema_name("ErrorBody");
    let response = ResponseBuilder::new().description(description).content(
        "application/json",
        ContentBuilder::new().schema(Some(body)).build(),
    );
    let responses = &mut operation.responses.responses;
    responses
        .entry(status.to_owned())
        .or_insert_with(|| response.into());
}

/// Adds a header to an answer, where there is such an answer.
fn tell(operation: &mut Operation, status: &str, name: &str, description: &str) {
    if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
        let header = HeaderBuilder::new().description(Some(description)).build();
        response.headers.insert(name.to_owned(), header.into());
    }
}
