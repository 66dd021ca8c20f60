//! Speech in the output folder: `/outputs/audio/{path}`, and by its name alone `/audio/{file}`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{self, Request, State};
use axum::handler::HandlerWithoutStateExt as _;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tower_http::services::{ServeDir, ServeFile};

use super::error::ApiError;

/// Folder of the speech in the output folder; it has folders for years, and those for months.
const SPEECH: &str = "translated";

/// The routes of the speech files in that folder.
pub fn routes(output_directory: PathBuf) -> Router {
    let files = ServeDir::new(&output_directory)
        .append_index_html_on_directories(false)
        .fallback(none.into_service());
    Router::new()
        .route("/audio/{file}", get(by_name))
        .route("/v1/audio/{file}", get(by_name))
        .with_state(Arc::new(output_directory))
        .nest_service("/outputs/audio", files)
}

async fn none() -> ApiError {
    not_found()
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "No such file")
}

async fn by_name(
    State(output_directory): State<Arc<PathBuf>>,
    name: Result<extract::Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let extract::Path(name) =
        name.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    if !is_file_name(&name) {
        return Err(not_found());
    }
    let found = tokio::task::spawn_blocking(move || find(&output_directory.join(SPEECH), &name));
    let found = found.await.map_err(|error| ApiError::internal(&error))?;
    let path = found.ok_or_else(not_found)?;
    let served = ServeFile::new(path).try_call(request).await;
    let served = served.map_err(|error| ApiError::internal(&error))?;
    Ok(served.into_response())
}

/// True for a name that leads nowhere else, and to nothing hidden such as a file that is being written.
fn is_file_name(name: &str) -> bool {
    !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
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
        for name in ["..", ".tmp1", "../a.mp3", "01/a.mp3", "a\0"] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
