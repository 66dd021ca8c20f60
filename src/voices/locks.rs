//! One lock for each user that somebody works on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Locks by user; a lock is forgotten when nobody holds it or waits for it.
pub(super) struct UserLocks<L>(Mutex<HashMap<String, Weak<L>>>);

impl<L> Default for UserLocks<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Default> UserLocks<L> {
    /// The user's lock. Keep it, or an owned guard of it, as long as it is to count.
    pub(super) fn of(&self, user_id: &str) -> Arc<L> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(user_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(L::default());
        locks.insert(user_id.to_owned(), Arc::downgrade(&lock));
        lock
    }

    /// Locks that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_shared_while_somebody_has_it() {
        let locks = UserLocks::<Mutex<u8>>::default();
        let first = locks.of("ann");
        assert!(Arc::ptr_eq(&first, &locks.of("ann")));
        assert!(!Arc::ptr_eq(&first, &locks.of("ben")));
        *first.lock().unwrap() = 1;
        drop(first);
        assert_eq!(*locks.of("ann").lock().unwrap(), 0, "a new one");
    }
}
