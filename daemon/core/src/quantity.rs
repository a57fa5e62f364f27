// SPDX-License-Identifier: MIT OR Apache-2.0

//! Durations and sizes as policies write them.

/// Reads a duration such as `5s` or `250ms`, in microseconds.
///
/// # Errors
///
/// What is expected, for a person.
pub fn duration(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected a duration such as \"5s\" or \"250ms\"";
    scaled(text, &[("ms", 1_000), ("s", 1_000_000)]).ok_or(EXPECTED)
}

/// Reads a size such as `64KiB` or `1MiB`, in bytes.
///
/// # Errors
///
/// What is expected, for a person.
pub fn bytes(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected a size such as \"64KiB\" or \"1MiB\"";
    scaled(text, &[("KiB", 1 << 10), ("MiB", 1 << 20)]).ok_or(EXPECTED)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, scale) =
        units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    // `parse` alone would take a sign.
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(*scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_needed_and_overflow_is_refused() {
        assert_eq!(duration("5s"), Ok(5_000_000));
        assert_eq!(duration("250ms"), Ok(250_000));
        assert_eq!(duration("0s"), Ok(0));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        for wrong in ["", "5", "s", "-5s", "+5s", "5 s", "5m", "18446744073709551615s", "1.5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["64", "64kib", "64KB", "KiB", "18446744073709551615MiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
