// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pending upkeep of a GPU.

use crate::timeline::Monotonic;

/// Delay from a first failure to the next attempt, in microseconds. Doubles with each further
/// failure, up to 64 times the initial value.
pub(super) const RETRY: u64 = 1_000_000;

/// Pending upkeep, and the state of retries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Upkeep {
    /// Whether the kernel's binding has to be read, because it may have changed.
    pub(super) look: bool,
    /// Whether a read that upkeep started has no result yet.
    pub(super) reading: bool,
    /// Earliest time of the next attempt after a failure, unless something changes.
    pub(super) retry: Option<Monotonic>,
    /// Number of consecutive failures.
    pub(super) failures: u32,
}

impl Upkeep {
    /// Returns whether the kernel's binding may differ from the one that was read last.
    pub(super) fn is_stale(self) -> bool {
        self.look || self.reading
    }

    /// Delays the next attempt.
    pub(super) fn delay(&mut self, now: Monotonic) {
        self.retry = Some(Monotonic(now.0 + (RETRY << self.failures.min(6))));
        self.failures += 1;
    }
}
