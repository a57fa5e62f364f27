// SPDX-License-Identifier: MIT OR Apache-2.0

//! Evidence for heap names: the source of a name, the versions on which it was seen, and the facts
//! that are not shown.

use crate::sanitize::is_hidden;
use crate::words;

/// Maximum length of `kernel` and `firmware`, in bytes.
pub const LONGEST_VERSION: usize = 100;

/// Maximum length of `observer`, in bytes.
pub const LONGEST_OBSERVER: usize = 200;

/// Maximum length of `link`, in bytes.
pub const LONGEST_LINK: usize = 500;

/// Evidence for a heap name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Reliability of the heap name.
    pub status: EvidenceStatus,
    /// Source of the evidence.
    pub source: Option<String>,
    /// Reliability of the claim that a firewall denies other devices, and the GPU in normal mode,
    /// access to this heap's memory. Nothing in the kernel proves that.
    pub firewall: Option<EvidenceStatus>,
    /// Version of the kernel with which the heap was seen, or that documents it.
    pub kernel: Option<String>,
    /// Version of the firmware, such as that of the TEE.
    pub firmware: Option<String>,
    /// Date of the observation: `YYYY-MM-DD`.
    pub date: Option<String>,
    /// Person or organisation that made the observation.
    pub observer: Option<String>,
    /// Address of a public source.
    pub link: Option<String>,
}

words! {
    /// Reliability of a claim about a heap.
    EvidenceStatus {
        /// It was seen to work on this platform.
        Tested = "tested",
        /// The vendor or the kernel documents it.
        Documented = "documented",
        /// It is a guess.
        Unverified = "unverified",
    }
}

words! {
    /// A fact about a heap that its evidence does not show.
    Gap {
        /// No policy has evidence for the heap name.
        NoEvidence = "no-evidence",
        /// The heap name is a guess for this platform.
        NameUnverified = "name-unverified",
        /// The name is documented, but no GPU was seen to work with the heap.
        NotTested = "not-tested",
        /// No policy says whether a firewall protects the memory.
        FirewallUnknown = "firewall-unknown",
        /// The firewall is a guess.
        FirewallUnverified = "firewall-unverified",
        /// The version of the kernel is missing.
        KernelMissing = "kernel-missing",
        /// The version of the firmware is missing.
        FirmwareMissing = "firmware-missing",
        /// The date of the observation is missing.
        DateMissing = "date-missing",
        /// The observer is missing.
        ObserverMissing = "observer-missing",
    }
}

impl Gap {
    /// Returns the meaning for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::NoEvidence => "no policy says how the name is known",
            Self::NameUnverified => "the name is not verified on this platform",
            Self::NotTested => "no test of the heap with a GPU of this platform is known",
            Self::FirewallUnknown => "it is not known whether a firewall protects the memory",
            Self::FirewallUnverified => "the firewall is not verified",
            Self::KernelMissing => "the version of the kernel is missing",
            Self::FirmwareMissing => "the version of the firmware is missing",
            Self::DateMissing => "the date is missing",
            Self::ObserverMissing => "the observer is missing",
        }
    }
}

impl Evidence {
    /// Returns the keys of an observation that are missing.
    pub fn missing(&self) -> impl Iterator<Item = (&'static str, Gap)> {
        let keys = [
            ("kernel", Gap::KernelMissing, &self.kernel),
            ("firmware", Gap::FirmwareMissing, &self.firmware),
            ("date", Gap::DateMissing, &self.date),
            ("observer", Gap::ObserverMissing, &self.observer),
        ];
        let missing = keys.map(|(key, gap, value)| value.is_none().then_some((key, gap)));
        missing.into_iter().flatten()
    }
}

/// Returns the facts that this evidence for a heap does not show.
pub fn gaps(evidence: Option<&Evidence>) -> Vec<Gap> {
    let Some(evidence) = evidence else {
        return vec![Gap::NoEvidence, Gap::FirewallUnknown];
    };
    let mut gaps = Vec::new();
    match evidence.status {
        EvidenceStatus::Unverified => gaps.push(Gap::NameUnverified),
        EvidenceStatus::Documented => gaps.push(Gap::NotTested),
        EvidenceStatus::Tested => {}
    }
    match evidence.firewall {
        None => gaps.push(Gap::FirewallUnknown),
        Some(EvidenceStatus::Unverified) => gaps.push(Gap::FirewallUnverified),
        Some(EvidenceStatus::Tested | EvidenceStatus::Documented) => {}
    }
    gaps.extend(evidence.missing().map(|(_, gap)| gap));
    gaps
}

words! {
    /// A key of an evidence table whose value describes an observation.
    Fact {
        /// Version of the kernel.
        Kernel = "kernel",
        /// Version of the firmware.
        Firmware = "firmware",
        /// Date.
        Date = "date",
        /// Observer.
        Observer = "observer",
        /// Address of a public source.
        Link = "link",
    }
}

/// All keys, in the order of the members of [`Evidence`].
pub(crate) const FACTS: [Fact; 5] =
    [Fact::Kernel, Fact::Firmware, Fact::Date, Fact::Observer, Fact::Link];

/// Reason why the value of a [`Fact`] is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    /// The value is a placeholder such as `<name of who saw it>`.
    #[error("the value of `{0}` is still a placeholder")]
    Placeholder(Fact),
    /// The value is empty.
    #[error("the value of `{0}` is empty")]
    Empty(Fact),
    /// The value has several lines or is too long. Contains the maximum length.
    #[error("expected one line of at most {0} bytes")]
    Text(usize),
    /// The value is not a date.
    #[error("expected a date such as \"2026-11-30\"")]
    Date,
    /// The value is not an address.
    #[error("expected an address such as \"https://lore.kernel.org/...\"")]
    Link,
}

impl Invalid {
    /// Returns the remedy.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Placeholder(fact) | Self::Empty(fact) => {
                Some(format!("fill in `{fact}`, or remove the line"))
            }
            Self::Text(_) | Self::Date | Self::Link => None,
        }
    }
}

impl Fact {
    /// Checks a value.
    pub(crate) fn check(self, text: &str) -> Result<(), Invalid> {
        let longest = match self {
            Self::Kernel | Self::Firmware => LONGEST_VERSION,
            Self::Observer => LONGEST_OBSERVER,
            Self::Link | Self::Date => LONGEST_LINK,
        };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(Invalid::Empty(self));
        }
        if trimmed.starts_with('<') && trimmed.ends_with('>') {
            return Err(Invalid::Placeholder(self));
        }
        if text.len() > longest || text.contains(is_hidden) {
            return Err(Invalid::Text(longest));
        }
        match self {
            Self::Date if !is_date(text) => Err(Invalid::Date),
            Self::Link if !is_link(text) => Err(Invalid::Link),
            _ => Ok(()),
        }
    }
}

/// Returns whether `text` is a calendar date of the form `YYYY-MM-DD` (ISO 8601).
fn is_date(text: &str) -> bool {
    let number = |part: &str, length: usize| {
        let is_number = part.len() == length && part.bytes().all(|c| c.is_ascii_digit());
        is_number.then(|| part.parse::<u32>().ok()).flatten()
    };
    let parts: Vec<_> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2))
    else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return false,
    };
    year > 0 && (1..=days).contains(&day)
}

/// Returns whether `text` is an address that begins with `https://` and has a host.
fn is_link(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_host = |c: u8| c.is_ascii_alphanumeric() || b".-:".contains(&c);
    host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.bytes().all(is_host)
        && rest.bytes().all(|c| c.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(status: EvidenceStatus) -> Evidence {
        Evidence {
            status,
            source: None,
            firewall: None,
            kernel: None,
            firmware: None,
            date: None,
            observer: None,
            link: None,
        }
    }

    #[test]
    fn date_is_one_of_the_calendar() {
        for good in ["2026-11-30", "2024-02-29", "2000-02-29", "2026-01-01", "2026-12-31"] {
            assert!(is_date(good), "{good}");
        }
        for bad in [
            "",
            "2026",
            "2026-11",
            "2026-11-31",
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-10-00",
            "26-11-30",
            "2026-1-3",
            "2026-11-30T10:00:00Z",
            "2026-11-3x",
            "+026-11-30",
            "0000-01-01",
            "30.11.2026",
            "YYYY-MM-DD",
            "2026-11-30 ",
        ] {
            assert!(!is_date(bad), "{bad}");
        }
    }

    #[test]
    fn link_is_an_https_address_with_a_host() {
        for good in [
            "https://a.example",
            "https://a.example/b?c=d#e",
            "https://a.example:8443/~b/(c)",
            "https://docs.kernel.org/userspace-api/dma-buf-heaps.html",
        ] {
            assert!(is_link(good), "{good}");
        }
        for bad in [
            "",
            "https://",
            "https:///b",
            "http://a.example",
            "a.example",
            "HTTPS://a.example",
            "https://a.example/b c",
            "https://a.example/\u{202e}",
            "https://<host>/",
            "https://.a",
            "https://u@a.example",
            "javascript:https://a.example",
        ] {
            assert!(!is_link(bad), "{bad}");
        }
    }

    #[test]
    fn value_is_one_line_and_no_placeholder() {
        for fact in FACTS {
            assert_eq!(fact.check("<fill in>"), Err(Invalid::Placeholder(fact)), "{fact}");
            assert_eq!(fact.check(" "), Err(Invalid::Empty(fact)), "{fact}");
            assert!(fact.check("2026-11-30\n").is_err(), "{fact}");
            assert!(fact.check(&format!("https://a.example/{}", "x".repeat(600))).is_err());
        }
        assert_eq!(Fact::Kernel.check(&"x".repeat(LONGEST_VERSION)), Ok(()));
        let long = "x".repeat(LONGEST_VERSION + 1);
        assert_eq!(Fact::Firmware.check(&long), Err(Invalid::Text(LONGEST_VERSION)));
        assert_eq!(Fact::Observer.check("Jane Doe <jane@a.example>"), Ok(()));
        assert_eq!(Fact::Observer.check("\u{202e}eoD"), Err(Invalid::Text(LONGEST_OBSERVER)));
        assert_eq!(Fact::Date.check("yesterday"), Err(Invalid::Date));
        assert_eq!(Fact::Link.check("http://a.example"), Err(Invalid::Link));
    }

    #[test]
    fn gaps_are_the_facts_that_are_not_shown() {
        use EvidenceStatus::{Documented, Tested, Unverified};
        assert_eq!(gaps(None), [Gap::NoEvidence, Gap::FirewallUnknown]);
        let unknown =
            [Gap::KernelMissing, Gap::FirmwareMissing, Gap::DateMissing, Gap::ObserverMissing];
        for (status, gap) in [(Unverified, Gap::NameUnverified), (Documented, Gap::NotTested)] {
            let expected = [&[gap, Gap::FirewallUnknown], &unknown[..]].concat();
            assert_eq!(gaps(Some(&evidence(status))), expected, "{status}");
        }
        let text = || Some("x".to_owned());
        let seen = Evidence {
            firewall: Some(Unverified),
            kernel: text(),
            date: text(),
            ..evidence(Tested)
        };
        let expected = [Gap::FirewallUnverified, Gap::FirmwareMissing, Gap::ObserverMissing];
        assert_eq!(gaps(Some(&seen)), expected);
        let whole =
            Evidence { firewall: Some(Documented), firmware: text(), observer: text(), ..seen };
        assert_eq!(gaps(Some(&whole)), []);
    }
}
