// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of a demonstration: what the guest read from its system.

use serde::{Deserialize, Serialize};

/// The result: everything except `board` is read by the guest from its system; null is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    #[serde(skip_deserializing)]
    pub(super) board: String,
    pub(super) compatible: Option<Vec<String>>,
    pub(super) policies: Option<Vec<String>>,
    pub(super) gpu: Option<String>,
    pub(super) driver: Option<String>,
    pub(super) heap: Option<String>,
    pub(super) protection: Option<String>,
    pub(super) state: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) firmware_bytes: Option<u64>,
    pub(super) suspend_bytes: Option<u64>,
    pub(super) suspend_in_use: Option<u64>,
    pub(super) section: Option<String>,
    pub(super) section_pages: Option<u64>,
    pub(super) protected_entries: Option<u64>,
    pub(super) protected_exits: Option<u64>,
    pub(super) denied: Option<u64>,
    pub(super) complaints: Option<u64>,
    pub(super) held_ms: Option<u64>,
    pub(super) bound_before_probe: Option<bool>,
    pub(super) boot_ms: Option<u64>,
}

impl Report {
    /// Returns whether the GPU's driver uses buffers of a protected heap that were bound before it probed.
    pub(super) fn bound(&self) -> bool {
        self.state.as_deref() == Some("in-use")
            && matches!(self.protection.as_deref(), Some("tee" | "unmappable"))
            && self.bound_before_probe == Some(true)
            && self.firmware_bytes > Some(0)
            && self.suspend_in_use > Some(0)
    }

    /// Returns whether the modelled GPU has used them in protected mode, and no other memory.
    pub(super) fn used(&self) -> bool {
        self.section.as_deref() == Some("carve-out")
            && self.section_pages.map(|pages| pages * 4096) == self.firmware_bytes
            && self.protected_entries > Some(0)
            && self.protected_exits == self.protected_entries
            && self.denied == Some(0)
            && self.complaints == Some(0)
    }

    /// Returns the result as a table.
    pub(super) fn rows(&self) -> [(&'static str, String); 18] {
        let text = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
        let list = |value: &Option<Vec<String>>| value.as_ref().map(|v| v.join(" > "));
        let bytes = |value: Option<u64>| value.map(|n| format!("{n} ({} KiB)", n / 1024));
        let ms = |value: Option<u64>| value.map(|n| format!("{n} ms"));
        [
            ("board", Some(self.board.clone())),
            ("compatible", list(&self.compatible)),
            ("policies", list(&self.policies)),
            ("GPU", text(&self.gpu)),
            ("driver", text(&self.driver)),
            ("heap", text(&self.heap)),
            ("protection", text(&self.protection)),
            ("state", text(&self.state)),
            ("reason", text(&self.reason)),
            ("firmware buffer", bytes(self.firmware_bytes)),
            (
                "firmware's section",
                self.section_pages
                    .map(|n| format!("{n} pages: {}", self.section.as_deref().unwrap_or_default())),
            ),
            ("suspend buffers of", bytes(self.suspend_bytes)),
            ("protected groups", self.suspend_in_use.map(|n| n.to_string())),
            (
                "protected mode",
                self.protected_entries.map(|n| {
                    format!("entered {n} times, left {} times", self.protected_exits.unwrap_or(0))
                }),
            ),
            ("accesses denied", self.denied.map(|n| n.to_string())),
            ("GPU was held", ms(self.held_ms)),
            (
                "bound before probe",
                self.bound_before_probe.map(|b| if b { "yes" } else { "no" }.into()),
            ),
            ("from kernel start", ms(self.boot_ms)),
        ]
        .map(|(name, value)| (name, value.unwrap_or_else(|| "-".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = r#"{"state": "in-use", "protection": "tee", "bound_before_probe": true, "heap": "h",
        "firmware_bytes": 262144, "suspend_in_use": 1, "policies": ["a,b", "default"], "reason": "",
        "section": "carve-out", "section_pages": 64, "protected_entries": 3, "protected_exits": 3, "denied": 0,
        "complaints": 0}"#;

    fn sent() -> Report {
        serde_json::from_str(SENT).unwrap()
    }

    #[test]
    fn report_has_every_member_and_null_for_absent_ones() {
        let object = serde_json::to_value(sent()).unwrap();
        for key in "board compatible policies gpu driver heap protection state reason firmware_bytes suspend_bytes \
                    suspend_in_use section section_pages protected_entries protected_exits denied complaints held_ms \
                    bound_before_probe boot_ms"
            .split_whitespace()
        {
            assert!(object.get(key).is_some(), "{key}");
        }
        assert_eq!(object["driver"], serde_json::Value::Null);
        assert_eq!(object["heap"], "h");
    }

    #[test]
    fn success_needs_buffers_in_the_drivers_hands() {
        assert!(sent().bound());
        let spoil: [fn(&mut Report); 6] = [
            |report| report.state = Some("bound".to_owned()),
            |report| report.protection = Some("none".to_owned()),
            |report| report.protection = None,
            |report| report.firmware_bytes = Some(0),
            |report| report.suspend_in_use = None,
            |report| report.bound_before_probe = Some(false),
        ];
        for (number, spoil) in spoil.iter().enumerate() {
            let mut report = sent();
            spoil(&mut report);
            assert!(!report.bound(), "{number}");
        }
    }

    #[test]
    fn success_needs_protected_mode_as_well() {
        assert!(sent().used());
        let spoil: [fn(&mut Report); 7] = [
            |report| report.section = Some("ordinary".to_owned()),
            |report| report.section_pages = Some(63),
            |report| report.protected_entries = Some(0),
            |report| report.protected_entries = None,
            |report| report.protected_exits = Some(2),
            |report| report.denied = Some(1),
            |report| report.complaints = Some(1),
        ];
        for (number, spoil) in spoil.iter().enumerate() {
            let mut report = sent();
            spoil(&mut report);
            assert!(!report.used(), "{number}");
        }
    }

    #[test]
    fn values_are_formatted() {
        let rows = sent().rows();
        assert_eq!(rows[2], ("policies", "a,b > default".to_owned()));
        assert_eq!(rows[8], ("reason", "-".to_owned()));
        assert_eq!(rows[9], ("firmware buffer", "262144 (256 KiB)".to_owned()));
        assert_eq!(rows[10], ("firmware's section", "64 pages: carve-out".to_owned()));
        assert_eq!(rows[13], ("protected mode", "entered 3 times, left 3 times".to_owned()));
    }
}
