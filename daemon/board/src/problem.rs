// SPDX-License-Identifier: MIT OR Apache-2.0

use std::fmt;

use protheap_policy::sanitize::Sanitized;

/// Something that was there and could not be used. It was skipped; the boot goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, directory or socket, with the root that it was looked for beneath.
    pub path: String,
    /// What is wrong with it, and where it helps, what to do.
    pub message: String,
}

impl Problem {
    /// Makes a problem of `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.escape_debug(), Sanitized(&self.message))
    }
}

impl std::error::Error for Problem {}
