// SPDX-License-Identifier: MIT OR Apache-2.0

//! Durations and sizes in policies: a number and a unit.

/// A kind of quantity.
#[derive(Debug)]
pub struct Kind {
    /// Description of such a value for messages.
    pub expected: &'static str,
    /// The two units and their factors, the smaller first.
    units: [(&'static str, u64); 2],
    /// Index of the unit to suggest for a number without one.
    usual: usize,
}

/// A duration such as `5s` or `250ms`, in microseconds.
pub const DURATION: Kind = Kind {
    expected: "a duration such as \"5s\" or \"250ms\"",
    units: [("ms", 1_000), ("s", 1_000_000)],
    usual: 1,
};

/// A size such as `64KiB` or `1MiB`, in bytes.
pub const SIZE: Kind = Kind {
    expected: "a size such as \"64KiB\" or \"1MiB\"",
    units: [("KiB", 1 << 10), ("MiB", 1 << 20)],
    usual: 0,
};

impl Kind {
    /// Parses `text`; returns `None` if it is not valid.
    pub fn read(&self, text: &str) -> Option<u64> {
        let strip = |(unit, scale): &(&str, u64)| Some((text.strip_suffix(unit)?, *scale));
        let (digits, scale) = self.units.iter().find_map(strip)?;
        // `parse` alone would accept a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        digits.parse::<u64>().ok()?.checked_mul(scale)
    }

    /// Suggests a valid value for the invalid `text`.
    pub fn suggest(&self, text: &str) -> Option<String> {
        let text = text.trim();
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = text.strip_suffix(unit)?.parse::<u64>().ok()?;
        let unit = unit.trim().to_ascii_lowercase();
        let begins = |(name, _): &&(&str, u64)| {
            !unit.is_empty() && unit.get(..1) == name.to_ascii_lowercase().get(..1)
        };
        // The first letter determines the unit: `m` stands for `ms`, and `s` for `s`.
        let (name, _) = self
            .units
            .iter()
            .find(begins)
            .or_else(|| unit.is_empty().then(|| self.units.get(self.usual)).flatten())?;
        let bytes = self.usual == 0 && unit.is_empty() && number >= 1024 && number % 1024 == 0;
        let number = if bytes { number / 1024 } else { number };
        Some(format!("{number}{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_required_and_overflow_is_rejected() {
        assert_eq!(DURATION.read("5s"), Some(5_000_000));
        assert_eq!(DURATION.read("250ms"), Some(250_000));
        assert_eq!(DURATION.read("0s"), Some(0));
        assert_eq!(SIZE.read("64KiB"), Some(65_536));
        for wrong in ["", "5", "s", "-5s", "+5s", "5 s", "5m", "18446744073709551615s", "1.5s"] {
            assert_eq!(DURATION.read(wrong), None, "{wrong}");
        }
        for wrong in ["64", "64kib", "64KB", "KiB", "18446744073709551615MiB"] {
            assert_eq!(SIZE.read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn suggestion_is_valid() {
        for (kind, wrong, meant) in [
            (&DURATION, "5", "5s"),
            (&DURATION, " 5 sec", "5s"),
            (&DURATION, "250m", "250ms"),
            (&DURATION, "2S", "2s"),
            (&SIZE, "64", "64KiB"),
            (&SIZE, "65536", "64KiB"),
            (&SIZE, "1024", "1KiB"),
            (&SIZE, "1023", "1023KiB"),
            (&SIZE, "2049", "2049KiB"),
            (&SIZE, "2048k", "2048KiB"),
            (&DURATION, "2048", "2048s"),
            (&SIZE, "64k", "64KiB"),
            (&SIZE, "1 MB", "1MiB"),
        ] {
            let suggested = kind.suggest(wrong).unwrap();
            assert_eq!(suggested, meant);
            assert!(kind.read(&suggested).is_some());
        }
        for wrong in ["", "s", "five", "-5s", "1.5s", "5h", "99999999999999999999s"] {
            assert_eq!(DURATION.suggest(wrong), None, "{wrong}");
        }
    }
}
