//! The binary as a person types it.

use std::path::Path;
use std::process::{Command, Output};

use super::daemon::{Ports, fixture_models};
use super::recordings;

/// The binary in an empty folder, with nothing in its environment but what it needs and what is given.
pub struct CommandLine {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl CommandLine {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let message = folder.path().join("message.ogg");
        std::fs::write(message, recordings::bundled()).unwrap();
        Self {
            folder,
            environment: Vec::new(),
        }
        .with("MODELS_PATH", fixture_models().to_str().unwrap())
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Settings of ports.
    pub fn at(self, ports: Ports) -> Self {
        self.with("TRANSLATOR_ZMQ_PULL_PORT", &ports.pull.to_string())
            .with("TRANSLATOR_ZMQ_PUB_PORT", &ports.publish.to_string())
            .with("HTTP_PORT", &ports.http.to_string())
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The command, to be run or started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_translator"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .envs(
                std::env::vars_os()
                    .filter(|(name, _)| ["PATH", "HOME"].iter().any(|kept| name == kept)),
            )
            .env("ORT_DYLIB_PATH", super::onnxruntime_library())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        assert_cmd::Command::from_std(self.command(arguments))
            .timeout(super::PATIENCE)
            .output()
            .unwrap()
    }

    /// Standard output of a command that must succeed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    }

    /// Standard error of a command that must end with this code.
    pub fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
        text(&output.stderr)
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
