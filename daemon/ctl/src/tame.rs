// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text from outside on its way to a terminal.

use std::fmt;

/// Shows text without the characters that could drive a terminal, and in one line.
#[derive(Debug)]
pub(crate) struct Tame<'a>(pub(crate) &'a str);

impl fmt::Display for Tame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| write!(f, "{}", if c.is_control() { '\u{fffd}' } else { c }))
    }
}
