//! What a file shall hold, and whether it does.

use std::io::{self, Read};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::domain::digest::hex;

const BUFFER_BYTES: usize = 128 << 10;

/// What a file shall hold, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Digest {
    /// SHA-256 of its bytes.
    Sha256(String),
    /// SHA-1 of it as a git object: `blob <length>\0` before its bytes.
    GitSha1(String),
}

impl Digest {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Sha256(digest) | Self::GitSha1(digest) => digest,
        }
    }
}

/// Reads along with a file.
pub(super) struct Hasher {
    sha256: Sha256,
    git_sha1: Option<Sha1>,
}

impl Hasher {
    /// For a file of that length.
    pub fn new(expected: &Digest, size_bytes: u64) -> Self {
        let git_sha1 = matches!(expected, Digest::GitSha1(_)).then(|| {
            let mut sha1 = Sha1::new();
            sha1.update(format!("blob {size_bytes}\0"));
            sha1
        });
        Self {
            sha256: Sha256::new(),
            git_sha1,
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha1) = &mut self.git_sha1 {
            sha1.update(bytes);
        }
    }

    /// The SHA-256 of all that was read, if that is what was expected.
    pub fn finish(self, expected: &Digest) -> Option<String> {
        let sha256 = hex(&self.sha256.finalize());
        let is_expected = match (expected, self.git_sha1) {
            (Digest::Sha256(digest), _) => *digest == sha256,
            (Digest::GitSha1(digest), Some(sha1)) => *digest == hex(&sha1.finalize()),
            (Digest::GitSha1(_), None) => false,
        };
        is_expected.then_some(sha256)
    }
}

/// Passes all of a file to `take`, a piece at a time.
pub(super) fn read_through(
    mut file: impl Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => take(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(expected: &Digest, bytes: &[u8]) -> Option<String> {
        let mut hasher = Hasher::new(expected, bytes.len() as u64);
        read_through(bytes, |piece| {
            hasher.update(piece);
            Ok(())
        })
        .unwrap();
        hasher.finish(expected)
    }

    #[test]
    fn files_are_known_by_either_digest() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        // What `printf abc | git hash-object --stdin` says.
        let git = Digest::GitSha1("f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f".to_owned());
        assert_eq!(hash(&git, b"abc").as_deref(), Some(sha256));
        let plain = Digest::Sha256(sha256.to_owned());
        assert_eq!(hash(&plain, b"abc").as_deref(), Some(sha256));
        assert_eq!(hash(&git, b"abd"), None);
        assert_eq!(hash(&plain, b"abcd"), None);
    }
}
