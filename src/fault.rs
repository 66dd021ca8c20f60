//! Faults on demand, so that tests can stop, break or kill a job at a chosen point.
//!
//! `TRANSLATOR_FAULT=<stage>[.<item>]:<action>` with the actions `pause` (says so in the log, then
//! waits to be killed), `fail` and `panic`. Release builds contain none of it.

use crate::error::Stage;

/// The error that an injected `fail` makes.
#[derive(Debug, thiserror::Error)]
#[error("injected fault")]
pub struct InjectedFault;

/// A place in a job where a fault can be injected; `item` is the language, where there is one.
///
/// # Errors
/// The test wants this place to fail.
#[cfg(not(debug_assertions))]
pub async fn point(_stage: Stage, _item: &str) -> Result<(), InjectedFault> {
    Ok(())
}

/// A place in a job where a fault can be injected; `item` is the language, where there is one.
///
/// # Errors
/// The test wants this place to fail.
#[cfg(debug_assertions)]
pub async fn point(stage: Stage, item: &str) -> Result<(), InjectedFault> {
    static WANTED: std::sync::LazyLock<Option<Fault>> = std::sync::LazyLock::new(Fault::read);
    let Some(fault) = &*WANTED else { return Ok(()) };
    if fault.stage != stage.as_str() || fault.item.as_deref().is_some_and(|wanted| wanted != item) {
        return Ok(());
    }
    match fault.action.as_str() {
        "pause" => {
            tracing::warn!(stage = stage.as_str(), item, "fault: paused");
            std::future::pending().await
        }
        "panic" => panic!("fault: injected panic at {}", stage.as_str()),
        _ => Err(InjectedFault),
    }
}

#[cfg(debug_assertions)]
struct Fault {
    stage: String,
    item: Option<String>,
    action: String,
}

#[cfg(debug_assertions)]
impl Fault {
    #[expect(
        clippy::disallowed_methods,
        reason = "not a setting: a switch for tests that release builds do not have"
    )]
    fn read() -> Option<Self> {
        let text = std::env::var("TRANSLATOR_FAULT").ok()?;
        let (place, action) = text.split_once(':')?;
        let (stage, item) = match place.split_once('.') {
            Some((stage, item)) => (stage, Some(item.to_owned())),
            None => (place, None),
        };
        Some(Self {
            stage: stage.to_owned(),
            item,
            action: action.to_owned(),
        })
    }
}
