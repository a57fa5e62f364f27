// SPDX-License-Identifier: MIT OR Apache-2.0

//! Colours, where somebody looks.

use std::env;
use std::io::{IsTerminal as _, stdout};

/// Whether to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Something is to be looked at, or not finished.
    Note,
    /// Something is wrong.
    Bad,
}

impl Paint {
    /// Standard output is a terminal that knows colours, and nobody has set `NO_COLOR`
    /// (no-color.org).
    pub(crate) fn of_output() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        Self(stdout().is_terminal() && !dumb && set("NO_COLOR").is_none())
    }

    /// The text, in the colour of its tone.
    pub(crate) fn text(self, tone: Tone, text: &str) -> String {
        let number = match tone {
            Tone::Good => 32,
            Tone::Note => 33,
            Tone::Bad => 31,
        };
        if self.0 { format!("\x1b[{number}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
