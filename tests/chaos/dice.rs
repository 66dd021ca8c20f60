//! Everything random comes from one seed, which the report names: the same seed, the same run, as far as two
//! processes and a kernel allow.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// Random numbers for one purpose; what one purpose draws changes nothing for another.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The numbers of a seed for a purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(purpose);
        Self(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// A number below `bound`, which is not 0. The bias of the remainder is of no matter here.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// `count` different ones of several, in any order.
    pub fn sample<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut left = items.to_vec();
        let take = count.min(left.len());
        (0..take)
            .map(|_| left.swap_remove(self.below(left.len())))
            .collect()
    }

    /// A time within bounds, to the millisecond.
    pub fn time(&mut self, bounds: &RangeInclusive<Duration>) -> Duration {
        let (least, most) = (bounds.start().as_millis(), bounds.end().as_millis());
        let span = (most - least) as usize + 1;
        *bounds.start() + Duration::from_millis(self.below(span) as u64)
    }

    /// Random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
