// SPDX-License-Identifier: GPL-2.0

//! Statistics of a binding, for debugging.

use crate::abstractions::compat::{
    EDQUOT,
    EMEDIUMTYPE,
    ENODATA,
    EOPNOTSUPP, //
};
use kernel::prelude::*;

/// Errors for which a buffer is refused, and the word that debugfs and log lines have for each.
const REASONS: [(Error, &str); 11] = [
    (EMSGSIZE, "too-small"),
    (EMEDIUMTYPE, "not-protected"),
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

/// Number of reasons, including `other`.
const COUNT: usize = REASONS.len() + 1;

/// Returns the index of a reason. The last one is that of `other`.
fn index(why: Error) -> usize {
    let known = REASONS.iter().position(|(reason, _)| *reason == why);
    known.unwrap_or(REASONS.len())
}

/// Returns the word for a reason, as in `refused-...` of debugfs.
pub(crate) fn word(why: Error) -> &'static str {
    let known = REASONS.iter().find(|(reason, _)| *reason == why);
    known.map_or("other", |(_, word)| word)
}

/// Reasons for which a kind of failure was logged, so that each is logged once.
#[derive(Default)]
pub(crate) struct Logged([bool; COUNT]);

impl Logged {
    /// Returns whether this failure was not logged before, and notes that it is now.
    pub(crate) fn is_first(&mut self, why: Error) -> bool {
        match self.0.get_mut(index(why)) {
            Some(logged) => !core::mem::replace(logged, true),
            None => false,
        }
    }
}

/// Counters of one binding.
#[derive(Default)]
pub(crate) struct Statistics {
    /// Requests for a suspend buffer that had to wait.
    pub(crate) waits: u32,
    /// Requests for a suspend buffer that failed because none came free in time.
    pub(crate) exhausted: u32,
    /// Requests for a suspend buffer that failed because of the client's limit.
    pub(crate) over_limit: u32,
    /// Logged failures to allocate a suspend buffer.
    pub(crate) supply: Logged,
    /// Logged failures to hand the firmware's buffer to the driver.
    pub(crate) firmware: Logged,
    refusals: [u32; COUNT],
}

impl Statistics {
    /// Counts a buffer that was refused, or could not be allocated.
    pub(crate) fn refuse(&mut self, why: Error) {
        if let Some(count) = self.refusals.get_mut(index(why)) {
            *count = count.saturating_add(1);
        }
    }

    /// Counts a failed request for a suspend buffer. Returns whether the buffers were exhausted for
    /// the first time.
    pub(crate) fn fail_suspend(&mut self, why: Error) -> bool {
        let count = match why == EDQUOT {
            true => &mut self.over_limit,
            false => &mut self.exhausted,
        };
        *count = count.saturating_add(1);
        why != EDQUOT && *count == 1
    }

    /// Returns the number of refusals for each reason.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        let words = REASONS.iter().map(|(_, word)| *word);
        Iterator::chain(words, core::iter::once("other")).zip(self.refusals)
    }
}

#[kunit_tests(protheap_statistics)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_reason() {
        let mut statistics = Statistics::default();
        for why in [EMEDIUMTYPE, EMEDIUMTYPE, EINTR] {
            statistics.refuse(why);
        }
        let count = |word: &str| statistics.refusals().find(|(reason, _)| *reason == word);
        assert!(count("not-protected") == Some(("not-protected", 2)));
        assert!(count("too-small") == Some(("too-small", 0)));
        assert!(count("other") == Some(("other", 1)));
    }

    #[test]
    fn each_reason_is_logged_once_for_each_kind_of_failure() {
        let mut statistics = Statistics::default();
        statistics.refuse(EMSGSIZE);
        assert!(statistics.supply.is_first(EMSGSIZE));
        assert!(!statistics.supply.is_first(EMSGSIZE));
        assert!(statistics.supply.is_first(EINTR));
        assert!(!statistics.supply.is_first(EAGAIN));
        assert!(statistics.firmware.is_first(EMSGSIZE));
    }
}
