// SPDX-License-Identifier: GPL-2.0

//! What happened to a binding, counted for whoever looks for a fault.

use kernel::prelude::*;

/// Why something was refused, and the word for it.
const REASONS: [(Error, &str); 11] = [
    (EMSGSIZE, "too-small"),
    (EPERM, "not-protected"),
    (EEXIST, "twice"),
    (EXDEV, "other-exporter"),
    (EBUSY, "too-late"),
    (ENOSPC, "too-many"),
    (EOPNOTSUPP, "not-handed"),
    (ENODATA, "no-firmware-buffer"),
    (ENODEV, "no-heap"),
    (EIO, "heap-dead"),
    (ENOMEM, "heap-too-small"),
];

/// Number of reasons, with the one that has no word.
const COUNT: usize = REASONS.len() + 1;

/// Place of a reason; the last one is for all without a word.
fn place(why: Error) -> usize {
    let known = REASONS.iter().position(|(reason, _)| *reason == why);
    known.unwrap_or(REASONS.len())
}

/// The word for a reason, as in `refused-...` of debugfs.
pub(crate) fn word(why: Error) -> &'static str {
    let known = REASONS.iter().find(|(reason, _)| *reason == why);
    known.map_or("other", |(_, word)| word)
}

/// Reasons for which one kind of failure was logged, so that each is logged once.
#[derive(Default)]
pub(crate) struct Logged([bool; COUNT]);

impl Logged {
    /// Whether this failure was not logged before.
    pub(crate) fn is_first(&mut self, why: Error) -> bool {
        match self.0.get_mut(place(why)) {
            Some(logged) => !core::mem::replace(logged, true),
            None => false,
        }
    }
}

/// Counts of one binding.
#[derive(Default)]
pub(crate) struct Tally {
    /// Drivers that had to wait for a suspend buffer.
    pub(crate) waits: u32,
    /// Drivers that got none in time.
    pub(crate) exhausted: u32,
    /// Drivers that got none because of their client's limit.
    pub(crate) over_limit: u32,
    /// Failures to allocate a suspend buffer.
    pub(crate) supply: Logged,
    /// Failures to give the driver a firmware buffer.
    pub(crate) firmware: Logged,
    refusals: [u32; COUNT],
}

impl Tally {
    /// Counts a buffer that was refused, or could not be allocated.
    pub(crate) fn refuse(&mut self, why: Error) {
        if let Some(count) = self.refusals.get_mut(place(why)) {
            *count = count.saturating_add(1);
        }
    }

    /// Counts a suspend buffer that a driver did not get. Returns whether the buffers were
    /// exhausted for the first time.
    pub(crate) fn fail_suspend(&mut self, why: Error) -> bool {
        let count = match why == EDQUOT {
            true => &mut self.over_limit,
            false => &mut self.exhausted,
        };
        *count = count.saturating_add(1);
        why != EDQUOT && *count == 1
    }

    /// How many were refused, by reason.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        let words = REASONS.iter().map(|(_, word)| *word);
        Iterator::chain(words, core::iter::once("other")).zip(self.refusals)
    }
}

#[kunit_tests(protheap_tally)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_reason() {
        let mut tally = Tally::default();
        for why in [EPERM, EPERM, EINTR] {
            tally.refuse(why);
        }
        let count = |word: &str| tally.refusals().find(|(reason, _)| *reason == word);
        assert!(count("not-protected") == Some(("not-protected", 2)));
        assert!(count("too-small") == Some(("too-small", 0)));
        assert!(count("other") == Some(("other", 1)));
    }

    #[test]
    fn each_reason_is_logged_once_for_each_kind_of_failure() {
        let mut tally = Tally::default();
        tally.refuse(EMSGSIZE);
        assert!(tally.supply.is_first(EMSGSIZE));
        assert!(!tally.supply.is_first(EMSGSIZE));
        assert!(tally.supply.is_first(EINTR));
        assert!(!tally.supply.is_first(EAGAIN));
        assert!(tally.firmware.is_first(EMSGSIZE));
    }
}
