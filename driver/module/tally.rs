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

/// Counts of one binding.
#[derive(Default)]
pub(crate) struct Tally {
    /// Drivers that had to wait for a suspend buffer.
    pub(crate) waits: u32,
    /// Drivers that got none in time.
    pub(crate) exhausted: u32,
    /// Drivers that got none because of their client's limit.
    pub(crate) over_limit: u32,
    refusals: [u32; REASONS.len()],
    others: u32,
}

impl Tally {
    /// Counts a buffer that was refused, or could not be allocated. True: the first of its reason.
    pub(crate) fn refuse(&mut self, why: Error) -> bool {
        let place = REASONS.iter().position(|(reason, _)| *reason == why);
        let count = place.and_then(|i| self.refusals.get_mut(i));
        let count = count.unwrap_or(&mut self.others);
        *count = count.saturating_add(1);
        *count == 1
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
        let known = REASONS.iter().map(|(_, word)| *word).zip(self.refusals);
        Iterator::chain(known, core::iter::once(("other", self.others)))
    }
}

#[kunit_tests(protheap_tally)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_reason() {
        let mut tally = Tally::default();
        assert!(tally.refuse(EPERM));
        assert!(!tally.refuse(EPERM));
        assert!(tally.refuse(EINTR));
        let count = |word: &str| tally.refusals().find(|(reason, _)| *reason == word);
        assert!(count("not-protected") == Some(("not-protected", 2)));
        assert!(count("too-small") == Some(("too-small", 0)));
        assert!(count("other") == Some(("other", 1)));
    }
}
