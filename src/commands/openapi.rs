//! `openapi`: the description of the HTTP interface.

use std::process::ExitCode;

use super::CommandError;
use super::models::say_json;
use crate::http::openapi;

pub(super) fn run() -> Result<ExitCode, CommandError> {
    say_json(&openapi::document())?;
    Ok(ExitCode::SUCCESS)
}
