//! Speech in the output folder: `/outputs/audio/{path}`, and by its name alone `/audio/{file}`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{self, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tower_http::services::ServeFile;
use utoipa::{IntoParams, IntoResponses, ToResponse};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ErrorBody};
use super::form::AudioFile;

/// Folder of the speech in the output folder; it has folders for years, and those for months.
const SPEECH: &str = "translated";

/// The output folder.
type OutputDirectory = Arc<PathBuf>;

/// What there is of files.
pub fn operations() -> OpenApiRouter<OutputDirectory> {
    let named = OpenApiRouter::default().routes(routes!(by_name));
    OpenApiRouter::default()
        .routes(routes!(by_path))
        .nest("/audio", named.clone())
        .nest("/v1/audio", named)
}

/// The routes of the speech files in that folder.
pub fn routes(output_directory: PathBuf) -> Router {
    Router::from(operations()).with_state(Arc::new(output_directory))
}

/// Which part of a file is wanted, and from when on (RFC 9110).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(
    dead_code,
    reason = "it describes headers, which the file server reads"
)]
struct Wanted {
    /// Only these bytes.
    #[param(rename = "Range", value_type = String, required = false, example = "bytes=0-1023")]
    range: Option<String>,
    /// Only if it is another one.
    #[param(rename = "If-None-Match", value_type = String, required = false)]
    if_none_match: Option<String>,
    /// Only if it is newer.
    #[param(rename = "If-Modified-Since", value_type = String, required = false)]
    if_modified_since: Option<String>,
}

/// A file, or the part of it that is wanted.
#[derive(IntoResponses)]
#[allow(
    dead_code,
    reason = "it describes answers, which the file server makes"
)]
enum Sent {
    #[response(status = 200)]
    Whole(#[to_response] WholeFile),
    #[response(status = 206)]
    Part(#[to_response] PartOfFile),
}

/// The file
#[derive(ToResponse)]
#[response(headers(
    ("Accept-Ranges" = String, description = "`bytes`"),
    ("ETag" = String, description = "Names this content"),
    ("Last-Modified" = String, description = "When it was written"),
))]
#[allow(dead_code, reason = "it describes bytes, which the file server sends")]
enum WholeFile {
    Mp3(#[content("audio/mpeg")] AudioFile),
    Wav(#[content("audio/wav")] AudioFile),
    Ogg(#[content("audio/ogg")] AudioFile),
}

/// The part that is wanted
#[derive(ToResponse)]
#[response(headers(("Content-Range" = String, description = "Which part it is")))]
#[allow(dead_code, reason = "it describes bytes, which the file server sends")]
enum PartOfFile {
    Mp3(#[content("audio/mpeg")] AudioFile),
    Wav(#[content("audio/wav")] AudioFile),
    Ogg(#[content("audio/ogg")] AudioFile),
}

/// Why a file is not sent, or not as a whole.
#[derive(IntoResponses)]
#[allow(
    dead_code,
    reason = "it describes answers, which the file server makes"
)]
enum NotSent {
    #[response(status = 304, description = "The client has it already")]
    Unchanged,
    #[response(status = 400, description = "The path cannot be read")]
    Unreadable(ErrorBody),
    #[response(status = 404, description = "There is no such file")]
    Missing(ErrorBody),
    #[response(status = 412, description = "It has changed")]
    Changed,
    #[response(
        status = 416,
        description = "There is no such part",
        headers(("Content-Range" = String, description = "How long the file is")),
    )]
    NoPart,
}

/// A file with speech, by the path that results tell.
#[utoipa::path(
    get, path = "/outputs/audio/{*path}", operation_id = "speech_file", tag = "files",
    params(("path" = String, Path, description = "Such as `translated/2026/01/name.mp3`"), Wanted),
    responses(
        Sent,
        NotSent,
    ),
)]
async fn by_path(
    State(output_directory): State<OutputDirectory>,
    path: Result<extract::Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let extract::Path(path) = path?;
    if !path.split('/').all(is_file_name) {
        return Err(not_found());
    }
    send(request, output_directory.clone(), move || {
        Some(output_directory.join(path))
    })
    .await
}

/// A file with speech, by its name alone: the newest of that name.
#[utoipa::path(
    get, path = "/{file}", operation_id = "speech_file_by_name", tag = "files",
    params(("file" = String, Path, description = "The last step of its path"), Wanted),
    responses(
        Sent,
        NotSent,
    ),
)]
async fn by_name(
    State(output_directory): State<OutputDirectory>,
    name: Result<extract::Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let extract::Path(name) = name?;
    if !is_file_name(&name) {
        return Err(not_found());
    }
    let speech = output_directory.join(SPEECH);
    send(request, output_directory, move || find(&speech, &name)).await
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "No such file")
}

/// Sends the file that is found, or what is wanted of it; nothing that links lead to outside the folder.
async fn send(
    request: Request,
    folder: OutputDirectory,
    find: impl FnOnce() -> Option<PathBuf> + Send + 'static,
) -> Result<Response, ApiError> {
    let found = tokio::task::spawn_blocking(move || {
        let path = find()?.canonicalize().ok()?;
        let is_inside = path.starts_with(folder.canonicalize().ok()?);
        (is_inside && path.is_file()).then_some(path)
    });
    let found = found.await.map_err(|error| ApiError::internal(&error))?;
    let path = found.ok_or_else(not_found)?;
    let served = ServeFile::new(path).try_call(request).await;
    let served = served.map_err(|error| ApiError::internal(&error))?;
    Ok(served.into_response())
}

/// True for a name that leads nowhere else, and to nothing hidden such as a file that is being written.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// The file of that name, the newest if months have several.
fn find(speech: &Path, name: &str) -> Option<PathBuf> {
    folders(speech)
        .iter()
        .flat_map(|year| folders(year))
        .map(|month| month.join(name))
        .find(|path| path.is_file())
}

/// The folders in a folder, the last one first.
fn folders(folder: &Path) -> Vec<PathBuf> {
    // A folder that is not there has none.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders.reverse();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_files_of_the_folder_only() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["2025/12", "2026/01", "2026/02"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["2025/12/a.mp3", "2026/01/a.mp3", "2026/02/.tmp1"] {
            std::fs::write(root.path().join(file), file).unwrap();
        }
        assert_eq!(
            find(root.path(), "a.mp3"),
            Some(root.path().join("2026/01/a.mp3"))
        );
        assert_eq!(find(root.path(), "b.mp3"), None);
        for name in ["", "..", ".tmp1", "../a.mp3", "01/a.mp3", "a\0"] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
