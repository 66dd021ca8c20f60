//! Faults on demand, so that tests can stop, break or kill a job at a chosen point.
//!
//! `TRANSLATOR_FAULT=<fault>[;<fault>…]`, each of them one of
//!
//! - `<stage>[.<item>][@<prefix>]:<action>`: in a stage of a job, or in one language of it; with a
//!   prefix only in jobs whose task id or message id begins so. Actions: `pause` (says so in the log,
//!   then waits to be killed), `fail`, `panic`, `abort` (ends the process as a failed assertion of C
//!   code does).
//! - `decode_worker.<prefix>:<action>`: in the process that decodes a recording whose SHA-256 in
//!   hexadecimal begins so. Actions: `fail`, `panic`, `abort`, `hang` (computes for ever), `leak` (fills
//!   memory for ever).
//!
//! `TRANSLATOR_FAULT_FILE` names a file that is read at every write to a disk, so that a disk can become
//! full and free again: lines `disk.<site>:<action>`, with the sites `blob`, `checkpoint`, `commit`,
//! `speech`, `voice`, `clone_log`, `probe`, of `models pull` `model` (what comes), `model_install` and
//! `model_manifest`, and `*` for all. Actions: `enospc`, `erofs`, `eio`, `slow` (the
//! write takes two seconds).
//!
//! Release builds contain none of it.

use crate::error::Stage;

/// The error that an injected `fail` makes.
#[derive(Debug, thiserror::Error)]
#[error("injected fault")]
pub struct InjectedFault;

#[cfg(debug_assertions)]
const VARIABLE: &str = "TRANSLATOR_FAULT";

/// The variable that holds the faults, for a process whose environment is cleared otherwise.
#[cfg(not(debug_assertions))]
pub fn environment() -> Option<(&'static str, String)> {
    None
}

/// The variable that holds the faults, for a process whose environment is cleared otherwise.
#[cfg(debug_assertions)]
pub fn environment() -> Option<(&'static str, String)> {
    #[expect(
        clippy::disallowed_methods,
        reason = "not a setting: a switch for tests that release builds do not have"
    )]
    let text = std::env::var(VARIABLE).ok()?;
    Some((VARIABLE, text))
}

/// The job that a fault may be meant for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The job's task id.
    pub task_id: &'a str,
    /// The request as JSON, with or without a message id.
    pub request: &'a [u8],
}

/// A place in a job where a fault can be injected; `item` is the language, where there is one.
///
/// # Errors
/// The test wants this place to fail.
#[cfg(not(debug_assertions))]
pub async fn point(_stage: Stage, _item: &str, _job: Target<'_>) -> Result<(), InjectedFault> {
    Ok(())
}

/// A place in a job where a fault can be injected; `item` is the language, where there is one.
///
/// # Errors
/// The test wants this place to fail.
#[cfg(debug_assertions)]
pub async fn point(stage: Stage, item: &str, job: Target<'_>) -> Result<(), InjectedFault> {
    let stage = stage.as_str();
    match wanted(|fault| fault.hits_stage(stage, item) && fault.hits_job(job)) {
        None => Ok(()),
        Some(Action::Pause) => {
            tracing::warn!(stage, item, "fault: paused");
            std::future::pending().await
        }
        Some(action) => action.take(),
    }
}

/// The place in a decoding process where a fault can be injected.
///
/// # Errors
/// The test wants this recording to fail.
#[cfg(not(debug_assertions))]
pub fn decode_point(_recording_sha256: &str) -> Result<(), InjectedFault> {
    Ok(())
}

/// The place in a decoding process where a fault can be injected.
///
/// # Errors
/// The test wants this recording to fail.
#[cfg(debug_assertions)]
pub fn decode_point(recording_sha256: &str) -> Result<(), InjectedFault> {
    match wanted(|fault| fault.hits_recording(recording_sha256)) {
        None => Ok(()),
        Some(action) => action.take(),
    }
}

/// A write to a disk that a test may let fail, or take long.
///
/// # Errors
/// The one that the test wants.
#[cfg(not(debug_assertions))]
pub fn disk(_site: &str) -> std::io::Result<()> {
    Ok(())
}

/// A write to a disk that a test may let fail, or take long.
///
/// # Errors
/// The one that the test wants.
#[cfg(debug_assertions)]
pub fn disk(site: &str) -> std::io::Result<()> {
    use rustix::io::Errno;

    const SLOW: std::time::Duration = std::time::Duration::from_secs(2);
    static FILE: std::sync::LazyLock<Option<std::path::PathBuf>> = std::sync::LazyLock::new(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "not a setting: a switch for tests that release builds do not have"
        )]
        let file = std::env::var_os("TRANSLATOR_FAULT_FILE");
        file.map(Into::into)
    });
    let Some(file) = &*FILE else {
        return Ok(());
    };
    // No file: no fault.
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let action = text.lines().find_map(|line| {
        let (wanted, action) = line.strip_prefix("disk.")?.split_once(':')?;
        (wanted == site || wanted == "*").then_some(action)
    });
    match action {
        None => Ok(()),
        Some("enospc") => Err(Errno::NOSPC.into()),
        Some("erofs") => Err(Errno::ROFS.into()),
        Some("eio") => Err(Errno::IO.into()),
        Some("slow") => {
            std::thread::sleep(SLOW);
            Ok(())
        }
        Some(action) => panic!("TRANSLATOR_FAULT_FILE has the action {action:?}"),
    }
}

#[cfg(debug_assertions)]
fn wanted(is_hit: impl Fn(&Fault) -> bool) -> Option<Action> {
    static FAULTS: std::sync::LazyLock<Vec<Fault>> = std::sync::LazyLock::new(|| {
        let text = environment().map(|(_, text)| text).unwrap_or_default();
        Fault::list(&text).unwrap_or_else(|fault| panic!("{VARIABLE} has {fault:?}"))
    });
    FAULTS
        .iter()
        .find(|fault| is_hit(fault))
        .map(|fault| fault.action)
}

#[cfg(debug_assertions)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Pause,
    Fail,
    Panic,
    Abort,
    Hang,
    Leak,
}

#[cfg(debug_assertions)]
impl Action {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "pause" => Self::Pause,
            "fail" => Self::Fail,
            "panic" => Self::Panic,
            "abort" => Self::Abort,
            "hang" => Self::Hang,
            "leak" => Self::Leak,
            _ => return None,
        })
    }

    /// Does it, and comes back only to fail.
    fn take(self) -> Result<(), InjectedFault> {
        const CHUNK_BYTES: usize = 1 << 20;
        match self {
            Self::Fail => Err(InjectedFault),
            // Not a literal, so that the log has to leave it out as it leaves out what may be private.
            Self::Panic => panic!("fault: injected panic ({self:?})"),
            Self::Abort => std::process::abort(),
            Self::Pause | Self::Hang => loop {
                std::hint::spin_loop();
            },
            Self::Leak => {
                let mut hoard = Vec::new();
                loop {
                    // Not zeros: untouched pages cost nothing.
                    hoard.push(std::hint::black_box(vec![1_u8; CHUNK_BYTES]));
                }
            }
        }
    }
}

#[cfg(debug_assertions)]
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    place: String,
    item: Option<String>,
    /// What the job's task id or message id begins with.
    job: Option<String>,
    action: Action,
}

#[cfg(debug_assertions)]
impl Fault {
    /// # Errors
    /// The text of the first fault that cannot be read.
    fn list(text: &str) -> Result<Vec<Self>, &str> {
        let faults = text.split(';').filter(|fault| !fault.trim().is_empty());
        faults
            .map(|fault| Self::parse(fault.trim()).ok_or(fault))
            .collect()
    }

    fn parse(text: &str) -> Option<Self> {
        // A message id may hold colons, an action does not.
        let (place, action) = text.rsplit_once(':')?;
        let (place, job) = match place.split_once('@') {
            Some((place, job)) => (place, Some(job.to_owned())),
            None => (place, None),
        };
        let (place, item) = match place.split_once('.') {
            Some((place, item)) => (place, Some(item.to_owned())),
            None => (place, None),
        };
        Some(Self {
            place: place.to_owned(),
            item,
            job,
            action: Action::parse(action)?,
        })
    }

    fn hits_stage(&self, stage: &str, item: &str) -> bool {
        self.place == stage && self.item.as_deref().is_none_or(|wanted| wanted == item)
    }

    fn hits_job(&self, job: Target<'_>) -> bool {
        let Some(prefix) = self.job.as_deref() else {
            return true;
        };
        let request: serde_json::Value = serde_json::from_slice(job.request).unwrap_or_default();
        let message_id = request["messageId"].as_str().unwrap_or_default();
        job.task_id.starts_with(prefix) || message_id.starts_with(prefix)
    }

    fn hits_recording(&self, sha256: &str) -> bool {
        let prefix = self.item.as_deref().unwrap_or_default();
        self.place == "decode_worker" && sha256.starts_with(prefix)
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    const JOB: Target<'_> = Target {
        task_id: "task-1",
        request: br#"{"messageId": "message:1"}"#,
    };

    #[test]
    fn faults_are_chosen_by_stage_item_and_job() {
        let faults =
            Fault::list("decode:pause; translate.fr@task:fail;synthesize@message:1:abort;")
                .unwrap();
        let hit = |stage, item| {
            let mut faults = faults.iter();
            let hit = faults.find(|fault| fault.hits_stage(stage, item) && fault.hits_job(JOB));
            hit.map(|fault| fault.action)
        };
        assert_eq!(hit("decode", ""), Some(Action::Pause));
        assert_eq!(hit("translate", "fr"), Some(Action::Fail));
        assert_eq!(hit("translate", "es"), None);
        assert_eq!(hit("synthesize", "es"), Some(Action::Abort));

        let other = Target {
            task_id: "other",
            request: b"{}",
        };
        assert!(faults[0].hits_job(other));
        assert!(!faults[1].hits_job(other) && !faults[2].hits_job(other));
    }

    #[test]
    fn faults_of_decoding_are_chosen_by_the_recording() {
        let faults = Fault::list("decode_worker.0badcafe:hang;decode:fail").unwrap();
        assert!(faults[0].hits_recording("0badcafe42"));
        assert!(!faults[0].hits_recording("cafe"));
        assert!(!faults[1].hits_recording("0badcafe42"));
        assert!(!faults[0].hits_stage("decode", ""));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        assert_eq!(Fault::list("decode:fail;decode"), Err("decode"));
        assert_eq!(Fault::list("decode:explode"), Err("decode:explode"));
    }
}
