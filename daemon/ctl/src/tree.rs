// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text formatted as a tree.

use std::fmt;

/// A line with the lines below it.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    line: String,
    below: Vec<Tree>,
}

impl Tree {
    /// Creates a line without any below it.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self { line: line.into(), below: Vec::new() }
    }

    /// Adds a line below this one.
    pub(crate) fn line(&mut self, line: impl Into<String>) {
        self.below.push(Self::new(line));
    }

    /// Adds a line with those below it.
    pub(crate) fn branch(&mut self, branch: Self) {
        self.below.push(branch);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, before: &str) -> fmt::Result {
        writeln!(f, "{}", self.line)?;
        for (number, branch) in self.below.iter().enumerate() {
            let is_last = number + 1 == self.below.len();
            let (mark, after) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            write!(f, "{before}{mark}")?;
            branch.show(f, &format!("{before}{after}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, "")
    }
}
