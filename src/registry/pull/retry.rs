//! How long a hub that does not answer is asked again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use ureq::http::{HeaderMap, header};

use super::error::{HubError, PullError};

/// Failures in a row after which a request is given up; with the waits between them, 8 s.
const MAX_FAILURES: u32 = 5;
/// Wait after the first failure; it doubles with each one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait that a hub may ask for.
const MAX_ASKED_WAIT: Duration = Duration::from_secs(120);
/// How soon an interruption is noticed.
const SLICE: Duration = Duration::from_millis(50);

/// Tells whether to go on at all.
pub(super) struct Stop<'a> {
    /// The user has interrupted.
    pub cancelled: &'a AtomicBool,
    /// What failed would fail for every other file too.
    pub given_up: AtomicBool,
}

impl<'a> Stop<'a> {
    pub fn new(cancelled: &'a AtomicBool) -> Self {
        Self {
            cancelled,
            given_up: AtomicBool::new(false),
        }
    }

    /// # Errors
    /// It is time to stop.
    pub fn check(&self) -> Result<(), PullError> {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is_set(self.cancelled) || is_set(&self.given_up) {
            Err(PullError::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// The failures of one request.
pub(super) struct Retries<'a> {
    failures: u32,
    stop: &'a Stop<'a>,
}

impl<'a> Retries<'a> {
    pub fn new(stop: &'a Stop<'a>) -> Self {
        Self { failures: 0, stop }
    }

    /// Begins to count anew: the request got somewhere.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits until it is time to try again; `told` learns of the wait.
    ///
    /// # Errors
    /// The error itself, when another try would not help.
    pub fn wait(
        &mut self,
        error: HubError,
        told: impl FnOnce(&HubError, Duration),
    ) -> Result<(), PullError> {
        self.failures += 1;
        let wait = match error.asked_wait() {
            Some(asked) if asked > MAX_ASKED_WAIT => return Err(error.into()),
            Some(asked) => asked,
            None => FIRST_WAIT * 2_u32.saturating_pow(self.failures - 1),
        };
        if !error.may_pass() || self.failures >= MAX_FAILURES {
            return Err(error.into());
        }
        told(&error, wait);
        let mut left = wait;
        while !left.is_zero() {
            self.stop.check()?;
            let slice = left.min(SLICE);
            std::thread::sleep(slice);
            left -= slice;
        }
        self.stop.check()
    }
}

/// Asks until there is an answer, or none to be expected.
pub(super) fn ask<T>(
    stop: &Stop<'_>,
    told: impl Fn(&HubError, Duration),
    mut request: impl FnMut() -> Result<T, HubError>,
) -> Result<T, PullError> {
    let mut retries = Retries::new(stop);
    loop {
        stop.check()?;
        match request() {
            Ok(answer) => return Ok(answer),
            Err(error) => retries.wait(error, &told)?,
        }
    }
}

/// What `Retry-After` asks for: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let wait = until - OffsetDateTime::now_utc();
    Some(wait.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, text.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = asked("Sun, 06 Nov 2094 08:49:37 GMT").unwrap();
        assert!(later > Duration::from_secs(3600));
        assert_eq!(asked("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_told_at_once() {
        let cancelled = AtomicBool::new(false);
        let stop = Stop::new(&cancelled);
        let mut tries = 0;
        let answer = ask(
            &stop,
            |_, _| {},
            || {
                tries += 1;
                match tries {
                    1 => Err(HubError::TooManyRequests(Some(Duration::ZERO))),
                    _ => Ok(tries),
                }
            },
        );
        assert_eq!(answer.unwrap(), 2);
        let mut tries = 0;
        let refused: Result<(), _> = ask(
            &stop,
            |_, _| {},
            || {
                tries += 1;
                Err(HubError::NoRepository("a/b".to_owned()))
            },
        );
        assert!(refused.is_err());
        assert_eq!(tries, 1);
        let long = HubError::TooManyRequests(Some(MAX_ASKED_WAIT * 2));
        assert!(Retries::new(&stop).wait(long, |_, _| {}).is_err());
        cancelled.store(true, Ordering::Relaxed);
        let broken = HubError::Broken(Box::new(std::io::ErrorKind::Other.into()));
        let stopped = Retries::new(&stop).wait(broken, |_, _| {});
        assert!(matches!(stopped, Err(PullError::Cancelled)));
    }
}
