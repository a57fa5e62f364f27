// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ranges of revisions and releases, such as `>=4.2, <4.6`.

use std::cmp::Ordering;
use std::fmt;

/// A range of revisions. A revision must satisfy every bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range(Vec<(Bound, String)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
}

// Operators that begin with another operator precede it.
const BOUNDS: [(&str, Bound); 5] = [
    ("<=", Bound::AtMost),
    (">=", Bound::AtLeast),
    ("<", Bound::Less),
    (">", Bound::Greater),
    ("=", Bound::Equal),
];

impl Range {
    /// Parses bounds that are separated by commas; returns `None` if the text is not valid.
    pub fn new(text: &str) -> Option<Self> {
        text.split(',')
            .map(|bound| {
                let bound = bound.trim();
                let (operator, kind) = BOUNDS.iter().find(|(sign, _)| bound.starts_with(sign))?;
                let revision = bound[operator.len()..].trim();
                numbers(revision)?;
                Some((*kind, revision.to_owned()))
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Returns whether `revision` is in the range. Only dotted numbers can be: decimal ones, or
    /// hexadecimal ones after `0x`, which some SoCs have.
    pub fn contains(&self, revision: &str) -> bool {
        self.0.iter().all(|(bound, limit)| match compare(revision, limit) {
            Some(Ordering::Less) => matches!(bound, Bound::Less | Bound::AtMost),
            Some(Ordering::Equal) => {
                matches!(bound, Bound::AtMost | Bound::AtLeast | Bound::Equal)
            }
            Some(Ordering::Greater) => matches!(bound, Bound::Greater | Bound::AtLeast),
            None => false,
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (bound, limit)) in self.0.iter().enumerate() {
            let sign = BOUNDS.iter().find(|(_, kind)| kind == bound).map_or("", |(sign, _)| sign);
            write!(f, "{}{sign}{limit}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn numbers(revision: &str) -> Option<Vec<u32>> {
    let number = |part: &str| match part.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok(),
        None if !part.starts_with('+') => part.parse().ok(),
        _ => None,
    };
    revision.split('.').map(number).collect()
}

fn compare(left: &str, right: &str) -> Option<Ordering> {
    let (mut left, mut right) = (numbers(left)?, numbers(right)?);
    let longest = left.len().max(right.len());
    left.resize(longest, 0);
    right.resize(longest, 0);
    Some(left.cmp(&right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_compare_as_numbers() {
        let range = Range::new(">=4.2, <4.10").unwrap();
        for inside in ["4.2", "4.9", "4.9.3", "4.2.0"] {
            assert!(range.contains(inside), "{inside}");
        }
        for outside in ["4.1", "4.10", "4.10.0", "5.0", "", "4.x"] {
            assert!(!range.contains(outside), "{outside}");
        }
        assert!(Range::new("=4.6").unwrap().contains("4.6.0"));
        assert!(Range::new(">=0x10").unwrap().contains("0x00000011"));
        assert!(!Range::new("<2").unwrap().contains("+1"));
        assert_eq!(range.to_string(), ">=4.2, <4.10");
    }

    #[test]
    fn new_rejects_invalid_ranges() {
        for wrong in ["", "4.6", "<", "<four", "~4", "<4.6,", "<4..6", "<+4", "<0x", "<0x+4"] {
            assert_eq!(Range::new(wrong), None, "{wrong}");
        }
    }
}
