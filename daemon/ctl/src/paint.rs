// SPDX-License-Identifier: MIT OR Apache-2.0

//! Colours for terminals.

use std::env;
use std::io::{IsTerminal as _, stdout};

/// Whether to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

/// Severity of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// No problem.
    Good,
    /// Pending, or worth a look.
    Note,
    /// An error.
    Bad,
}

impl Paint {
    /// Uses colours if standard output is a terminal that supports them and `NO_COLOR` is not set
    /// (no-color.org).
    pub(crate) fn of_output() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        Self(stdout().is_terminal() && !dumb && set("NO_COLOR").is_none())
    }

    /// Returns the text in the colour of its tone.
    pub(crate) fn text(self, tone: Tone, text: &str) -> String {
        let number = match tone {
            Tone::Good => 32,
            Tone::Note => 33,
            Tone::Bad => 31,
        };
        if self.0 { format!("\x1b[{number}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
