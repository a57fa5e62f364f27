// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text from outside on its way to a terminal.

use std::borrow::Cow;
use std::fmt;

use anyhow::Result;
pub(crate) use protheap_policy::sanitize::Sanitized as Tame;
use protheap_policy::sanitize::{self, is_hidden};
use serde::Serialize;

/// Such texts in one line, or what to say of none.
pub(crate) fn joined<T: fmt::Display>(items: impl IntoIterator<Item = T>, none: &str) -> String {
    let items: Vec<_> = items.into_iter().map(|item| Tame(&item.to_string()).to_string()).collect();
    if items.is_empty() { none.to_owned() } else { items.join(" ") }
}

/// One line of JSON, with all characters escaped that are hidden or drive a terminal.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    Ok(sanitize::json(&serde_json::to_string(value)?) + "\n")
}

/// Text as it is printed, whatever was forgotten on the way: the only hidden characters left are
/// ends of lines and the colours of [`Paint`](crate::paint::Paint).
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

/// What a colour begins with.
const ESCAPE: char = '\x1b';
/// What [`Paint`](crate::paint::Paint) prints.
const PAINTS: [&str; 4] = ["\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_ends_of_lines_are_all_that_is_left_of_what_is_hidden() {
        assert_eq!(printed("a\nb\n"), "a\nb\n");
        assert_eq!(printed("\x1b[31mbad\x1b[0m\n"), "\x1b[31mbad\x1b[0m\n");
        assert_eq!(printed("\x1b[2J\x1b[31\u{202e}x"), "\u{fffd}[2J\u{fffd}[31\u{fffd}x");
        assert_eq!(printed("\x1b"), "\u{fffd}");
    }

    #[test]
    fn json_has_nothing_hidden() {
        let text = json(&"\u{1b}\u{9b}\u{202e}\u{200b}\u{e0041}").unwrap();
        assert_eq!(text, "\"\\u001b\\u009b\\u202e\\u200b\\udb40\\udc41\"\n");
    }
}
