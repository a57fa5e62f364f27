// SPDX-License-Identifier: MIT OR Apache-2.0

use std::fmt;

use protheap_policy::sanitize::Sanitized;

/// A file, directory or socket that exists but cannot be used. It is skipped, and the boot
/// continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, directory or socket, as a path with the root.
    pub path: String,
    /// Why it cannot be used and, if possible, the remedy.
    pub message: String,
}

impl Problem {
    /// Creates a problem of `path`.
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
