// SPDX-License-Identifier: MIT OR Apache-2.0

//! Conditions that a machine must meet for a heap to be a candidate.

use crate::revision::Range;

/// Conditions of a candidate. All that are present must hold; an unknown fact satisfies none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Required TEE implementation.
    pub tee: Option<String>,
    /// Accepted revisions of that TEE.
    pub tee_revision: Option<Range>,
    /// Accepted kernel releases, compared by their leading dotted number.
    pub kernel: Option<Range>,
    /// Required `soc_id`.
    pub soc_id: Option<String>,
    /// Accepted revisions of that SoC.
    pub soc_revision: Option<Range>,
}

impl Conditions {
    /// Returns whether any condition concerns the SoC.
    pub fn ask_for_soc(&self) -> bool {
        self.soc_id.is_some() || self.soc_revision.is_some()
    }

    /// Returns whether any condition concerns the TEE.
    pub fn ask_for_tee(&self) -> bool {
        self.tee.is_some() || self.tee_revision.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_condition_on_soc_or_tee_requires_its_facts() {
        let none = Conditions::default;
        let (word, range) = (|| Some("x".to_owned()), || Range::new(">=1"));
        for (conditions, soc, tee) in [
            (none(), false, false),
            (Conditions { kernel: range(), ..none() }, false, false),
            (Conditions { soc_id: word(), ..none() }, true, false),
            (Conditions { soc_revision: range(), ..none() }, true, false),
            (Conditions { tee: word(), ..none() }, false, true),
            (Conditions { tee_revision: range(), ..none() }, false, true),
        ] {
            let asked = (conditions.ask_for_soc(), conditions.ask_for_tee());
            assert_eq!(asked, (soc, tee), "{conditions:?}");
        }
    }
}
