//! Who had whose voice made, used or deleted: one JSON line for each, appended and never changed.
//!
//! The log holds ids and hashes, no audio and no voice print. A voice is made, changed or used only
//! after its line is on disk; where that fails, the default voice speaks.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use time::OffsetDateTime;

use crate::fault;

/// What was done with a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloneAction {
    /// It was made.
    Created,
    /// It was averaged with another recording.
    Improved,
    /// It was made anew from other recordings.
    Recalibrated,
    /// It spoke.
    Used,
    /// It was deleted.
    Deleted,
}

/// One line of the log.
#[derive(Debug, Serialize)]
pub struct CloneRecord {
    /// When.
    #[serde(with = "crate::domain::timestamp")]
    pub at: OffsetDateTime,
    /// What.
    pub action: CloneAction,
    /// Whose voice.
    pub user_id: String,
    /// Who asked: a user, or what of the daemon.
    pub requested_by: String,
    /// For which job.
    pub task_id: String,
    /// Which version of the voice came of it; none for a supplied one, and after a deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// SHA-256 of each recording, or of the supplied voice, as hexadecimal digits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reference_sha256: Vec<String>,
}

/// The log's file. Blocking: call it off the async threads.
#[derive(Debug)]
pub struct CloneLog {
    path: PathBuf,
    /// One line at a time.
    writing: Mutex<()>,
}

impl CloneLog {
    /// Uses the file at `path`; it is created with the first line. It may be moved away at any time.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            writing: Mutex::default(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line and waits until it would survive a power cut.
    ///
    /// # Errors
    /// The file system refuses; nothing, or a part of the line, was written.
    pub fn append(&self, record: &CloneRecord) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.open()?;
        // A crash may have left a part of a line: the next one must not become part of it.
        if !ends_with_newline(&mut file)? {
            line.insert(0, b'\n');
        }
        fault::disk("clone_log")?;
        file.write_all(&line)?;
        file.sync_data()
    }

    fn open(&self) -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        match options.open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let parent = self.path.parent().filter(|path| *path != Path::new(""));
        let folder = parent.unwrap_or(Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let file = options.create(true).open(&self.path)?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    }
}

fn ends_with_newline(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::Value;

    use super::*;

    fn record(user_id: &str) -> CloneRecord {
        CloneRecord {
            at: OffsetDateTime::UNIX_EPOCH,
            action: CloneAction::Created,
            user_id: user_id.to_owned(),
            requested_by: "bob".to_owned(),
            task_id: "task".to_owned(),
            version: Some(1),
            reference_sha256: Vec::new(),
        }
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    #[test]
    fn lines_are_appended_to_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = CloneLog::new(folder.path().join("below/clones.jsonl"));
        log.append(&record("ann")).unwrap();
        // Ids are opaque: one may hold a line break.
        log.append(&record("a\nb")).unwrap();
        let lines = lines(log.path());
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(lines[0]["action"], "created");
        assert_eq!(lines[0]["requested_by"], "bob");
        assert_eq!(lines[1]["user_id"], "a\nb");
        let mode = std::fs::metadata(log.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_cut_by_a_crash_costs_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clones.jsonl");
        std::fs::write(&path, b"{\"user_id\":\"old\"}\n{\"at\":\"20").unwrap();
        CloneLog::new(path.clone()).append(&record("ann")).unwrap();
        let users: Vec<Value> = lines(&path)
            .into_iter()
            .map(|line| line["user_id"].clone())
            .collect();
        assert_eq!(users, ["old", "ann"]);
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in the file's place.
        let log = CloneLog::new(folder.path().to_owned());
        assert!(log.append(&record("ann")).is_err());
    }
}
