//! Voices on disk.
//!
//! ```text
//! <directory>/<user>/voice.bin         the voice, see `profile`
//! <directory>/<user>/metadata.json     what is known about it
//! <directory>/.forgotten/<user>        when the user's voice was deleted
//! ```
//! A folder may also hold what the replaced service kept there: `.npy` files are read as identities,
//! pickles are not.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::foreign::{self, NpyError};
use super::profile::{ProfileError, VoiceProfile};
use crate::domain::digest::{file_name, short_digest};
use crate::domain::voice::SpeakerEmbedding;
use crate::domain::{JsonError, Private, PrivateText};
use crate::fault;

/// Folder of the notes about deletions. No user's folder begins with a dot.
const FORGOTTEN: &str = ".forgotten";

/// Files of one folder among which another writer's embedding is looked for.
const MAX_FOREIGN_FILES: usize = 16;

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
    /// What its owner's clients have noted about it.
    #[serde(default)]
    pub notes: VoiceNotes,
}

/// What clients have noted about a voice; nothing here changes how it sounds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VoiceNotes {
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PrivateText>,
    /// An object of the client's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_metadata: Option<Private<serde_json::Value>>,
    /// What was measured in the recording it was registered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub characteristics: Option<Private<serde_json::Value>>,
}

/// A user's voice with what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVoice {
    /// The voice.
    pub profile: VoiceProfile,
    /// What is known about it.
    pub metadata: VoiceMetadata,
}

impl StoredVoice {
    /// Names this very voice in cache keys: `<profile id>:<version>:<digest>`. A voice that is made
    /// anew begins with version 1 again, so the digest tells it from the one before.
    pub fn key(&self) -> String {
        let VoiceMetadata {
            profile_id,
            version,
            ..
        } = &self.metadata;
        format!(
            "{profile_id}:{version}:{}",
            short_digest(&self.profile.to_bytes())
        )
    }
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
        source: JsonError,
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
        self.directory.join(file_name(user_id))
    }

    /// The file of one user's voice; what is known about it lies beside it.
    pub fn voice_file(&self, user_id: &str) -> PathBuf {
        self.folder(user_id).join("voice.bin")
    }

    /// Reads a user's voice; `None` when there is none.
    ///
    /// # Errors
    /// The files are there but cannot be read.
    pub fn load(&self, user_id: &str) -> Result<Option<StoredVoice>, VoiceStoreError> {
        let Some(metadata) = self.metadata(user_id)? else {
            return Ok(None);
        };
        let voice_path = self.voice_file(user_id);
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

    /// Reads what is known about a user's voice; `None` when there is none.
    ///
    /// # Errors
    /// The file is there but cannot be read, or is another program's.
    pub fn metadata(&self, user_id: &str) -> Result<Option<VoiceMetadata>, VoiceStoreError> {
        read_metadata(&self.folder(user_id))
    }

    /// Reads what is known about every voice, in the order of the users' ids. Voices whose metadata
    /// cannot be read are left out.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<VoiceMetadata>, VoiceStoreError> {
        let folders = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            folders => folders.map_err(io_error(&self.directory))?,
        };
        let mut voices = Vec::new();
        for folder in folders {
            let folder = folder.map_err(io_error(&self.directory))?;
            if let Ok(Some(metadata)) = read_metadata(&folder.path()) {
                voices.push(metadata);
            }
        }
        voices.sort_by(|a, b| a.user_id.cmp(&b.user_id));
        Ok(voices)
    }

    /// Who the user is according to what the replaced service left in the folder, if it can be read.
    pub fn foreign_identity(&self, user_id: &str) -> Option<SpeakerEmbedding> {
        let files = std::fs::read_dir(self.folder(user_id)).ok()?;
        let mut files: Vec<PathBuf> = files
            .take(MAX_FOREIGN_FILES)
            .filter_map(|file| Some(file.ok()?.path()))
            .collect();
        files.sort();
        for file in files {
            let extension = file.extension().and_then(|extension| extension.to_str());
            let read = match extension {
                Some("npy") => read_npy(&file),
                Some("pkl" | "pickle" | "pt" | "pth") => Err(NpyError::Pickle),
                _ => continue,
            };
            match read {
                Ok(identity) => return Some(identity),
                Err(error) => tracing::warn!(
                    %error,
                    "a voice file of the replaced service is not read; the voice is made anew from \
                     what the user says next, and the file may be deleted"
                ),
            }
        }
        None
    }

    /// Deletes everything that is kept of a user's voice and notes when.
    ///
    /// # Errors
    /// The file system refuses; a part may be deleted.
    pub fn delete(&self, user_id: &str, at: OffsetDateTime) -> Result<(), VoiceStoreError> {
        let note = self.directory.join(FORGOTTEN).join(file_name(user_id));
        create_private_folder(note.parent().unwrap_or(&self.directory))?;
        // To the nanosecond: jobs of the same millisecond were accepted before or after it.
        let text = at.format(&Rfc3339).unwrap_or_default();
        write_atomically(&note, text.as_bytes())?;
        let folder = self.folder(user_id);
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error(&folder)(error)),
        }
        sync_folder(&self.directory).map_err(io_error(&self.directory))
    }

    /// When a user's voice was last deleted, if that was noted.
    ///
    /// # Errors
    /// The note cannot be read.
    pub fn deleted_at(&self, user_id: &str) -> Result<Option<OffsetDateTime>, VoiceStoreError> {
        let note = self.directory.join(FORGOTTEN).join(file_name(user_id));
        let Some(text) = read_if_there(&note)? else {
            return Ok(None);
        };
        let at = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        if at.is_some() {
            return Ok(at);
        }
        // A damaged note still says that there was a deletion.
        let written = std::fs::metadata(&note).and_then(|facts| facts.modified());
        written
            .map(|written| Some(written.into()))
            .map_err(io_error(&note))
    }

    /// Drops the notes about deletions before `before`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn drop_notes(&self, before: OffsetDateTime) -> Result<(), VoiceStoreError> {
        let folder = self.directory.join(FORGOTTEN);
        let notes = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            notes => notes.map_err(io_error(&folder))?,
        };
        for note in notes {
            let note = note.map_err(io_error(&folder))?;
            let written = note.metadata().and_then(|facts| facts.modified());
            if written.is_ok_and(|written| OffsetDateTime::from(written) < before) {
                std::fs::remove_file(note.path()).map_err(io_error(&note.path()))?;
            }
        }
        Ok(())
    }

    /// Writes a user's voice: each file is the old or the new one after a crash. Between the two, a
    /// voice may be newer than its metadata, which then count one recording too few.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save(&self, voice: &StoredVoice) -> Result<(), VoiceStoreError> {
        let user_id = &voice.metadata.user_id;
        create_private_folder(&self.folder(user_id))?;
        write_atomically(&self.voice_file(user_id), &voice.profile.to_bytes())?;
        self.save_metadata(&voice.metadata)
    }

    /// Writes what is known about a voice that is there.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save_metadata(&self, metadata: &VoiceMetadata) -> Result<(), VoiceStoreError> {
        let path = self.folder(&metadata.user_id).join("metadata.json");
        match serde_json::to_vec_pretty(metadata) {
            Ok(json) => write_atomically(&path, &json),
            Err(source) => Err(VoiceStoreError::Metadata {
                path,
                source: source.into(),
            }),
        }
    }
}

fn read_metadata(folder: &Path) -> Result<Option<VoiceMetadata>, VoiceStoreError> {
    let path = folder.join("metadata.json");
    let Some(metadata) = read_if_there(&path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&metadata)
        .map(Some)
        .map_err(|source| VoiceStoreError::Metadata {
            path,
            source: source.into(),
        })
}

fn read_npy(path: &Path) -> Result<SpeakerEmbedding, NpyError> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(foreign::MAX_NPY_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    foreign::npy_embedding(&read().unwrap_or_default())
}

/// Voice prints are personal data: nobody else may look.
fn create_private_folder(folder: &Path) -> Result<(), VoiceStoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io_error(folder))
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, VoiceStoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        // A file where a folder should be is no user's.
        Err(e)
            if [
                std::io::ErrorKind::NotFound,
                std::io::ErrorKind::NotADirectory,
            ]
            .contains(&e.kind()) =>
        {
            Ok(None)
        }
        Err(e) => Err(io_error(path)(e)),
    }
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), VoiceStoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        fault::disk("voice")?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(folder)
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

    fn voice(user_id: &str, values: [f32; 2]) -> StoredVoice {
        use crate::domain::voice::Conditioning;
        StoredVoice {
            profile: VoiceProfile {
                speaker_embedding: SpeakerEmbedding(values.into()),
                conditioning: Conditioning {
                    latents: values.into(),
                    speaker_embedding: values.into(),
                },
            },
            metadata: VoiceMetadata {
                user_id: user_id.to_owned(),
                profile_id: format!("vp_{user_id}"),
                created_at: OffsetDateTime::UNIX_EPOCH,
                updated_at: OffsetDateTime::UNIX_EPOCH,
                next_recalibration_at: OffsetDateTime::UNIX_EPOCH,
                audio_count: 1,
                total_duration_ms: 1,
                quality_score: 0.3,
                version: 1,
                changed_for: String::new(),
                notes: VoiceNotes::default(),
            },
        }
    }

    fn store() -> (tempfile::TempDir, VoiceStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = VoiceStore::new(folder.path().join("voices"));
        (folder, store)
    }

    #[test]
    fn voices_are_listed_and_strangers_left_out() {
        let (_folder, store) = store();
        assert_eq!(store.list().unwrap(), []);
        for user_id in ["zoe", "a/b", "ann"] {
            store.save(&voice(user_id, [1.0, 2.0])).unwrap();
        }
        store.delete("gone", OffsetDateTime::UNIX_EPOCH).unwrap();
        std::fs::write(store.directory.join("readme.txt"), "a file").unwrap();
        let stranger = store.directory.join("stranger");
        std::fs::create_dir(&stranger).unwrap();
        std::fs::write(stranger.join("metadata.json"), "{\"user_id\": \"x\"}").unwrap();
        let users: Vec<String> = store
            .list()
            .unwrap()
            .into_iter()
            .map(|metadata| metadata.user_id)
            .collect();
        assert_eq!(users, ["a/b", "ann", "zoe"]);
        let error = store.metadata("stranger").unwrap_err();
        assert!(matches!(error, VoiceStoreError::Metadata { .. }));
    }

    #[test]
    fn a_deletion_leaves_a_note_and_nothing_else() {
        let (_folder, store) = store();
        store.save(&voice("ann", [1.0, 2.0])).unwrap();
        std::fs::write(store.folder("ann").join("embedding.pkl"), b"\x80\x04").unwrap();
        assert_eq!(store.deleted_at("ann").unwrap(), None);
        let at = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        store.delete("ann", at).unwrap();
        assert!(!store.folder("ann").exists());
        assert_eq!(store.load("ann").unwrap(), None);
        assert_eq!(store.deleted_at("ann").unwrap(), Some(at));
        store.delete("ann", at).unwrap();

        store.drop_notes(OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!(store.deleted_at("ann").unwrap(), Some(at));
        let later = OffsetDateTime::now_utc() + std::time::Duration::from_secs(60);
        store.drop_notes(later).unwrap();
        assert_eq!(store.deleted_at("ann").unwrap(), None);
    }

    #[test]
    fn files_of_the_replaced_service_are_identities_or_refused() {
        let (_folder, store) = store();
        let folder = store.folder("ann");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("embedding.pkl"), b"\x80\x04cos\nsystem\n").unwrap();
        assert_eq!(store.foreign_identity("ann"), None);
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        let header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
        npy.extend((header.len() as u16).to_le_bytes());
        npy.extend(header);
        npy.extend([1.0f32, -2.0].map(f32::to_le_bytes).concat());
        std::fs::write(folder.join("embedding.npy"), &npy).unwrap();
        let identity = store.foreign_identity("ann").unwrap();
        assert_eq!(*identity.0, [1.0, -2.0]);
        assert_eq!(store.foreign_identity("nobody"), None);
        assert_eq!(store.load("ann").unwrap(), None, "nothing to speak with");
    }

    #[test]
    fn a_key_names_one_voice_only() {
        let first = voice("ann", [1.0, 2.0]);
        let mut improved = first.clone();
        improved.metadata.version = 2;
        let made_anew = voice("ann", [1.0, 3.0]);
        assert_eq!(first.key(), voice("ann", [1.0, 2.0]).key());
        assert!(first.key().starts_with("vp_ann:1:"), "{}", first.key());
        assert_ne!(first.key(), improved.key());
        assert_ne!(first.key(), made_anew.key());
    }
}
