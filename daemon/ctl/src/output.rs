// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text from outside for output on a terminal.

use std::borrow::Cow;
use std::fmt;

use anyhow::Result;
pub(crate) use protheap_policy::sanitize::Sanitized;
use protheap_policy::sanitize::{self, is_hidden};
use serde::Serialize;

/// Joins texts in one sanitized line, or returns `none` if there are none.
pub(crate) fn joined<T: fmt::Display>(items: impl IntoIterator<Item = T>, none: &str) -> String {
    let items: Vec<_> =
        items.into_iter().map(|item| Sanitized(&item.to_string()).to_string()).collect();
    if items.is_empty() { none.to_owned() } else { items.join(" ") }
}

/// Returns one line of JSON with all hidden and control characters escaped.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    Ok(sanitize::json(&serde_json::to_string(value)?) + "\n")
}

/// Sanitizes all output as a last safeguard: the only hidden characters left are line ends and the
/// colours of
/// [`Paint`](crate::paint::Paint).
pub(crate) fn printed(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && is_hidden(c)) {
        return Cow::Borrowed(text);
    }
    let mut printed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(ESCAPE) {
        let (before, after) = rest.split_at(at);
        printed.push_str(&sanitize::lines(before));
        let colour = PAINTS.into_iter().find(|colour| after.starts_with(colour));
        let length = colour.map_or(1, str::len);
        printed.push_str(colour.unwrap_or("\u{fffd}"));
        rest = after.get(length..).unwrap_or_default();
    }
    printed.push_str(&sanitize::lines(rest));
    Cow::Owned(printed)
}

/// First character of a colour sequence.
const ESCAPE: char = '\x1b';
/// Colour sequences of [`Paint`](crate::paint::Paint).
const PAINTS: [&str; 4] = ["\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_keeps_only_colours_and_line_ends() {
        assert_eq!(printed("a\nb\n"), "a\nb\n");
        assert_eq!(printed("\x1b[31mbad\x1b[0m\n"), "\x1b[31mbad\x1b[0m\n");
        assert_eq!(printed("\x1b[2J\x1b[31\u{202e}x"), "\u{fffd}[2J\u{fffd}[31\u{fffd}x");
        assert_eq!(printed("\x1b"), "\u{fffd}");
    }

    #[test]
    fn json_has_no_hidden_characters() {
        let text = json(&"\u{1b}\u{9b}\u{202e}\u{200b}\u{e0041}").unwrap();
        assert_eq!(text, "\"\\u001b\\u009b\\u202e\\u200b\\udb40\\udc41\"\n");
    }
}
