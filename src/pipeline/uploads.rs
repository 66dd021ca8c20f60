//! Files of the upload folders, which are shared with the gateway: nothing in a path, and no link in a
//! folder, leads out of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("it lies outside the upload folders")]
    OutsideRoots,
    #[error("it is no file")]
    NoFile,
    #[error("it could not be read")]
    Unreadable(#[source] io::Error),
}

/// Tries again where somebody renamed a folder on the way.
const MAX_TRIES: usize = 8;

/// Not to be held up by a pipe that nobody writes to, nor to become its terminal.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
const FOLDER: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::DIRECTORY);

/// Opens a file below one of the folders. A relative path begins in a folder, or with the folder's own
/// name (`uploads/2026/…`); an absolute one must begin with a folder's.
pub(super) fn open(path: &Path, roots: &[PathBuf]) -> Result<File, UploadError> {
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(UploadError::OutsideRoots);
    }
    let mut failure = UploadError::OutsideRoots;
    for root in roots {
        // Where the folder really is: the gateway may know it by another name.
        let Ok(root) = root.canonicalize() else {
            continue;
        };
        let Ok(folder) = openat(CWD, &root, FOLDER, Mode::empty()) else {
            continue;
        };
        for candidate in candidates(path, &root) {
            match open_beneath(&folder, &candidate) {
                Ok(file) => return Ok(file),
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}

/// The paths below `root` that `path` may mean.
fn candidates(path: &Path, root: &Path) -> Vec<PathBuf> {
    if path.is_absolute() {
        let below = path.strip_prefix(root).ok();
        // Through links outside the folder; what the last of them leads to is looked at when it is opened.
        let resolved = || below_by_links(path, root);
        return below
            .map(Path::to_owned)
            .or_else(resolved)
            .into_iter()
            .collect();
    }
    let named = root
        .file_name()
        .and_then(|name| path.strip_prefix(name).ok());
    std::iter::once(path)
        .chain(named)
        .map(Path::to_owned)
        .collect()
}

fn below_by_links(path: &Path, root: &Path) -> Option<PathBuf> {
    let resolved = path.canonicalize().ok()?;
    resolved.strip_prefix(root).ok().map(Path::to_owned)
}

fn open_beneath(folder: &OwnedFd, path: &Path) -> Result<File, UploadError> {
    if path.as_os_str().is_empty() {
        return Err(UploadError::NoFile);
    }
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut opened = Err(Errno::AGAIN);
    for _ in 0..MAX_TRIES {
        opened = openat2(folder, path, FILE, Mode::empty(), inside);
        if !matches!(opened, Err(Errno::AGAIN)) {
            break;
        }
    }
    let opened = match opened {
        // Linux before 5.6, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_by_steps(folder.as_fd(), path),
        opened => opened,
    };
    let file = File::from(opened.map_err(|error| match error {
        Errno::XDEV => UploadError::OutsideRoots,
        error => UploadError::Unreadable(error.into()),
    })?);
    match file.metadata() {
        Ok(facts) if facts.is_file() => Ok(file),
        Ok(_) => Err(UploadError::NoFile),
        Err(error) => Err(UploadError::Unreadable(error)),
    }
}

/// Opens one part of the path after the other, and follows no link at all.
fn open_by_steps(folder: std::os::fd::BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let mut parts = path.components().peekable();
    let mut reached: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let Component::Normal(part) = part else {
            return Err(Errno::XDEV);
        };
        let flags = if parts.peek().is_some() { FOLDER } else { FILE };
        let from = reached.as_ref().map_or(folder, AsFd::as_fd);
        reached = Some(openat(from, part, flags | OFlags::NOFOLLOW, Mode::empty())?);
    }
    reached.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder `uploads` with a recording, and a secret beside it.
    fn folders() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("uploads");
        std::fs::create_dir_all(root.join("2026/07")).unwrap();
        std::fs::write(root.join("2026/a.ogg"), b"audio").unwrap();
        std::fs::write(folder.path().join("secret"), b"secret").unwrap();
        std::fs::create_dir(folder.path().join("private")).unwrap();
        std::fs::write(folder.path().join("private/a.ogg"), b"secret").unwrap();
        (folder, root)
    }

    fn read(path: &Path, root: &Path) -> Result<String, UploadError> {
        let mut text = String::new();
        let mut file = open(path, &[PathBuf::from("/nowhere"), root.to_owned()])?;
        file.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn files_are_found_by_every_way_to_write_their_path() {
        let (folder, root) = folders();
        symlink("uploads", folder.path().join("alias")).unwrap();
        symlink("a.ogg", root.join("2026/inside")).unwrap();
        symlink("../../2026/a.ogg", root.join("2026/07/up-and-down")).unwrap();
        for path in [
            Path::new("2026/a.ogg"),
            Path::new("./2026//a.ogg"),
            Path::new("uploads/2026/a.ogg"),
            Path::new("2026/inside"),
            Path::new("2026/07/up-and-down"),
            &root.join("2026/a.ogg"),
            &folder.path().join("alias/2026/a.ogg"),
        ] {
            assert_eq!(read(path, &root).unwrap(), "audio", "{}", path.display());
        }
        let alias = folder.path().join("alias");
        assert_eq!(read(Path::new("2026/a.ogg"), &alias).unwrap(), "audio");
        let aliased = alias.join("2026/a.ogg");
        assert_eq!(
            read(&aliased, &alias).unwrap(),
            "audio",
            "as it is configured"
        );
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let (folder, root) = folders();
        let secret = folder.path().join("secret");
        symlink(&secret, root.join("absolute")).unwrap();
        symlink("../secret", root.join("relative")).unwrap();
        symlink("..", root.join("parent")).unwrap();
        symlink("../../private", root.join("2026/private")).unwrap();
        symlink("/proc/self/root/etc/passwd", root.join("magic")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(root.join("fifo"))
            .status();
        assert!(made.unwrap().success());
        for path in [
            Path::new(""),
            Path::new("."),
            Path::new("uploads"),
            Path::new("2026"),
            Path::new("missing"),
            Path::new("../secret"),
            Path::new("2026/../../secret"),
            Path::new("secret"),
            Path::new("absolute"),
            Path::new("relative"),
            Path::new("parent/secret"),
            Path::new("uploads/parent/secret"),
            Path::new("2026/private/a.ogg"),
            Path::new("magic"),
            Path::new("loop"),
            Path::new("fifo"),
            Path::new("/etc/passwd"),
            Path::new("/proc/self/environ"),
            Path::new("2026/a.ogg/"),
            &secret,
            &root,
            &root.join("relative"),
            &folder.path().join("uploads-2/a.ogg"),
        ] {
            let found = read(path, &root);
            assert!(found.is_err(), "{}: {found:?}", path.display());
        }
    }

    #[test]
    fn where_the_kernel_does_not_help_no_link_is_followed() {
        let (folder, root) = folders();
        symlink("a.ogg", root.join("2026/inside")).unwrap();
        symlink("2026", root.join("year")).unwrap();
        symlink(folder.path().join("private"), root.join("private")).unwrap();
        let folder = openat(CWD, &root, FOLDER, Mode::empty()).unwrap();
        let open = |path: &str| open_by_steps(folder.as_fd(), Path::new(path));
        let mut text = String::new();
        let mut file = File::from(open("2026/a.ogg").unwrap());
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "audio");
        for path in [
            "2026/inside",
            "year/a.ogg",
            "private/a.ogg",
            "../secret",
            "/etc/passwd",
            "missing",
            "",
        ] {
            assert!(open(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_folder_that_is_swapped_for_a_link_meanwhile_gives_no_secret() {
        let (folder, root) = folders();
        let (day, link, aside) = (root.join("day"), root.join("link"), root.join("aside"));
        std::fs::create_dir(&day).unwrap();
        std::fs::write(day.join("a.ogg"), b"audio").unwrap();
        symlink(folder.path().join("private"), &link).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let is_done = || stop.load(std::sync::atomic::Ordering::Relaxed);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !is_done() {
                    for (from, to) in [(&day, &aside), (&link, &day), (&day, &link), (&aside, &day)]
                    {
                        std::fs::rename(from, to).unwrap();
                    }
                }
            });
            let mut found = 0;
            for _ in 0..20_000 {
                if let Ok(text) = read(Path::new("day/a.ogg"), &root) {
                    assert_eq!(text, "audio");
                    found += 1;
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(found > 0, "the folder was never there");
        });
    }
}
