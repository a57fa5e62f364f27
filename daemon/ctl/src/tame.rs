// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text from outside on its way to a terminal.

use std::fmt::{self, Write as _};

use anyhow::Result;
use serde::Serialize;

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

/// Such texts in one line, or what to say of none.
pub(crate) fn joined<T: fmt::Display>(items: impl IntoIterator<Item = T>, none: &str) -> String {
    let items: Vec<_> = items.into_iter().map(|item| Tame(&item.to_string()).to_string()).collect();
    if items.is_empty() { none.to_owned() } else { items.join(" ") }
}

/// One line of JSON. It lets some characters be that terminals obey: these are escaped too.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    let mut text = String::new();
    for c in serde_json::to_string(value)?.chars() {
        match c {
            '\u{7f}'..='\u{9f}' => write!(text, "\\u{:04x}", u32::from(c))?,
            c => text.push(c),
        }
    }
    text.push('\n');
    Ok(text)
}
