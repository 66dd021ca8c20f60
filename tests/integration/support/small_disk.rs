//! A disk that is full when a test wants it to be.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::skip;

/// A file system in memory that a test may fill up.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` after saying that the test is skipped.
    pub fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { folder }),
            other => {
                let why = format!("no file system can be mounted: {other:?}");
                skip("REQUIRE_MOUNT", &why);
                None
            }
        }
    }

    /// Where a daemon may keep its data.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes until nothing fits any more, or until so many bytes are left.
    pub fn fill(&self, left: u64) {
        let mut filler = std::fs::File::create(self.filler()).unwrap();
        let disk = rustix::fs::statvfs(self.folder.path()).unwrap();
        let room = (disk.f_bavail * disk.f_frsize).saturating_sub(left);
        let chunk = vec![0; 1 << 12];
        for _ in 0..room.div_ceil(chunk.len() as u64) {
            if filler.write_all(&chunk).is_err() {
                return;
            }
        }
    }

    /// Takes back what [`fill`](Self::fill) wrote.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the daemon may still be ending.
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
