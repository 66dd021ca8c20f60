//! Faults of a daemon's disk that a test turns on and off.

/// The file that a daemon reads them from (`TRANSLATOR_FAULT_FILE`).
pub struct DiskFaults {
    file: tempfile::NamedTempFile,
}

impl DiskFaults {
    pub fn none() -> Self {
        Self {
            file: tempfile::NamedTempFile::new().unwrap(),
        }
    }

    pub fn path(&self) -> &str {
        self.file.path().to_str().unwrap()
    }

    /// Replaces the file whole: the daemon reads it at any time.
    pub fn set(&self, faults: &str) {
        let new = self.file.path().with_extension("new");
        std::fs::write(&new, faults).unwrap();
        std::fs::rename(new, self.file.path()).unwrap();
    }
}
