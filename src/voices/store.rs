//! Voices on disk: one folder per user with `voice.bin` and `metadata.json`.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::profile::{ProfileError, VoiceProfile};

/// What is known about a user's voice beside the voice itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoiceMetadata {
    /// Owner of the voice.
    pub user_id: String,
    /// Name of the voice in events to the gateway.
    pub profile_id: String,
    /// When it was first made.
    #[serde(with = "crate::domain::timestamp")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "crate::domain::timestamp")]
    pub updated_at: OffsetDateTime,
    /// When it should be made anew.
    #[serde(with = "crate::domain::timestamp")]
    pub next_recalibration_at: OffsetDateTime,
    /// Recordings it was made from.
    pub audio_count: u32,
    /// Length of these recordings.
    pub total_duration_ms: u64,
    /// Expected likeness in 0..1, see [`quality`](super::quality).
    pub quality_score: f32,
    /// Grows by one with every change; part of every cache key.
    pub version: u32,
    /// Task for which it was last changed: if that is tried again, it is not changed again.
    #[serde(default)]
    pub changed_for: String,
}

/// A user's voice with what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVoice {
    /// The voice.
    pub profile: VoiceProfile,
    /// What is known about it.
    pub metadata: VoiceMetadata,
}

/// Why a voice could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VoiceStoreError {
    /// The file system refused.
    #[error("voice store: {path} could not be accessed")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// `voice.bin` is damaged.
    #[error("voice store: {path} is damaged")]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ProfileError,
    },
    /// `metadata.json` is damaged.
    #[error("voice store: {path} is damaged")]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// The folder of all voices. Blocking: call it off the async threads.
#[derive(Debug, Clone)]
pub struct VoiceStore {
    directory: PathBuf,
}

impl VoiceStore {
    /// Uses `directory`; it is created with the first voice.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Folder of one user's voice.
    pub fn folder(&self, user_id: &str) -> PathBuf {
        self.directory.join(folder_name(user_id))
    }

    /// Reads a user's voice; `None` when there is none.
    ///
    /// # Errors
    /// The files are there but cannot be read.
    pub fn load(&self, user_id: &str) -> Result<Option<StoredVoice>, VoiceStoreError> {
        let folder = self.folder(user_id);
        let metadata_path = folder.join("metadata.json");
        let Some(metadata) = read_if_there(&metadata_path)? else {
            return Ok(None);
        };
        let metadata: VoiceMetadata =
            serde_json::from_slice(&metadata).map_err(|source| VoiceStoreError::Metadata {
                path: metadata_path,
                source,
            })?;
        let voice_path = folder.join("voice.bin");
        let Some(bytes) = read_if_there(&voice_path)? else {
            return Ok(None);
        };
        let profile =
            VoiceProfile::from_bytes(&bytes).map_err(|source| VoiceStoreError::Profile {
                path: voice_path,
                source,
            })?;
        Ok(Some(StoredVoice { profile, metadata }))
    }

    /// Writes a user's voice: each file is the old or the new one after a crash. Between the two, a
    /// voice may be newer than its metadata, which then count one recording too few.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save(&self, voice: &StoredVoice) -> Result<(), VoiceStoreError> {
        let folder = self.folder(&voice.metadata.user_id);
        // Voice prints are personal data: nobody else may look.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(io_error(&folder))?;
        write_atomically(&folder.join("voice.bin"), &voice.profile.to_bytes())?;
        let metadata_path = folder.join("metadata.json");
        let metadata = serde_json::to_vec_pretty(&voice.metadata).map_err(|source| {
            VoiceStoreError::Metadata {
                path: metadata_path.clone(),
                source,
            }
        })?;
        write_atomically(&metadata_path, &metadata)
    }
}

/// A folder name for any id: ids come from peers and may hold anything.
fn folder_name(user_id: &str) -> String {
    let is_plain = (1..=64).contains(&user_id.len())
        && user_id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_plain {
        return user_id.to_owned();
    }
    let digest = Sha256::digest(user_id.as_bytes());
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    // A plain id cannot contain the dot, so the two kinds never meet.
    format!("id.{hex}")
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, VoiceStoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error(path)(e)),
    }
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), VoiceStoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> VoiceStoreError {
    let path = path.to_owned();
    move |source| VoiceStoreError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_ids_stay_inside_the_store() {
        let store = VoiceStore::new(PathBuf::from("voices"));
        for id in [
            "../../etc",
            "a/b",
            "",
            ".",
            "..",
            "C:\\x",
            "post:1",
            &"x".repeat(300),
        ] {
            let folder = store.folder(id);
            assert_eq!(folder.parent(), Some(Path::new("voices")), "{id}");
            assert!(folder.file_name().is_some(), "{id}");
        }
        assert_eq!(
            store.folder("66a0_user-1"),
            Path::new("voices").join("66a0_user-1")
        );
        assert_ne!(store.folder("a/b"), store.folder("a\\b"));
    }
}
