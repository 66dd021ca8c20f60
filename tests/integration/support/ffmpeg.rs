//! The foreign codecs: ffmpeg in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use meeshy_translator::domain::Pcm;

use super::skip;

/// The ffmpeg program and a folder for its files.
pub struct Ffmpeg {
    folder: tempfile::TempDir,
}

impl Ffmpeg {
    /// `None` when ffmpeg is not installed, unless `REQUIRE_FFMPEG` is set.
    pub fn find() -> Option<Self> {
        let version = Command::new("ffmpeg")
            .arg("-version")
            .stdout(Stdio::null())
            .status();
        if version.is_ok_and(|status| status.success()) {
            let folder = tempfile::tempdir().unwrap();
            return Some(Self { folder });
        }
        skip("REQUIRE_FFMPEG", "ffmpeg does not run");
        None
    }

    /// Puts a file into the folder.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Converts `source`; live formats go through a pipe, as ffmpeg can seek back in a file.
    pub fn encode(&self, source: &Path, options: &str) -> PathBuf {
        let target = self.folder.path().join("encoded");
        let is_live = options.contains("-live 1");
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y", "-i"]).arg(source);
        command.args(options.split_whitespace());
        if is_live {
            command.arg("pipe:1");
        } else {
            command.arg(&target);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ffmpeg {options}: {complaints}");
        if is_live {
            std::fs::write(&target, output.stdout).unwrap();
        }
        target
    }

    /// ffmpeg's decoding at `sample_rate_hz`; its own way of mixing channels is not the average.
    pub fn decode(&self, file: &Path, sample_rate_hz: u32, channels: u16) -> Pcm {
        self.try_decode(file, sample_rate_hz, channels).unwrap()
    }

    /// The same; `None` when ffmpeg finds no audio.
    pub fn try_decode(&self, file: &Path, sample_rate_hz: u32, channels: u16) -> Option<Pcm> {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-i"]).arg(file);
        if channels == 2 {
            command.args(["-af", "pan=mono|c0=0.5*c0+0.5*c1"]);
        }
        command.args([
            "-ac",
            "1",
            "-ar",
            &sample_rate_hz.to_string(),
            "-f",
            "f32le",
            "pipe:1",
        ]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        if !output.status.success() {
            return None;
        }
        let (samples, _) = output.stdout.as_chunks::<4>();
        let samples: Vec<f32> = samples
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes))
            .collect();
        Some(Pcm::new(samples, sample_rate_hz))
    }
}
