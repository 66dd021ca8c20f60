//! Descriptors: as many as the system allows, and the share of them that peers may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Each of the two ZeroMQ sockets, and HTTP, may take one of so many parts of the descriptors.
const SHARES: u64 = 4;

/// The descriptors that the process may have.
pub(super) struct Descriptors(u64);

impl Descriptors {
    /// Raises their number as far as the system lets.
    ///
    /// Children inherit the number; decode workers give it up with all descriptors.
    pub(super) fn raise() -> Self {
        Self(raise_limit())
    }

    /// The connections that a socket may have: those of the setting, or fewer where descriptors are few.
    pub(super) fn share(&self, setting: &str, wanted: u32) -> usize {
        let connections = share(wanted, self.0);
        if connections < wanted as usize {
            tracing::warn!(
                descriptors = self.0,
                connections,
                setting,
                "the system allows few descriptors, and so fewer connections than the setting; raise its limit (ulimit -n)"
            );
        }
        connections
    }
}

fn share(wanted: u32, descriptors: u64) -> usize {
    let share = (descriptors / SHARES).max(1);
    usize::try_from(u64::from(wanted).min(share)).unwrap_or(usize::MAX)
}

/// The number of descriptors that the process may have now.
fn raise_limit() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            tracing::warn!(%error, "the number of descriptors cannot be raised");
            before.current
        }
    };
    current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_get_what_is_wanted_or_their_share() {
        assert_eq!(share(1024, 20_000), 1024);
        assert_eq!(share(1024, 1024), 256);
        assert_eq!(share(1024, 3), 1);
        assert_eq!(share(1024, u64::MAX), 1024);
    }

    #[test]
    fn the_limit_is_as_high_as_it_may_be() {
        let descriptors = raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(limit.current.unwrap_or(u64::MAX), descriptors);
    }
}
