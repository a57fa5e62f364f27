// SPDX-License-Identifier: MIT OR Apache-2.0

//! A fault in a policy file, with its position.

use std::fmt;

use serde::Serialize;

use crate::sanitize::Sanitized;

/// A position in a text: line and column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// Returns the position of the byte at `offset` of `text`.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Severity of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is rejected.
    Error,
    /// The file is used, but contains a likely mistake.
    Warning,
}

impl Severity {
    /// Returns the word for the severity.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A fault in a file: message, position, and remedy.
///
/// It is displayed as compilers do: `FILE:LINE:COLUMN: error: MESSAGE`, followed by the line with
/// the fault underlined, if the text is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Path of the file.
    pub path: String,
    /// Position of the fault's first character.
    pub place: Place,
    /// Byte range of the fault: its first byte, and the one after its last.
    pub(crate) span: (usize, usize),
    /// Severity of the fault.
    pub severity: Severity,
    /// Description of the fault.
    pub message: String,
    /// Remedy for the fault.
    pub help: Option<String>,
    /// Part of the line around the fault.
    source: String,
    /// Number of the line's characters before that part.
    skipped: usize,
    /// Number of characters to underline.
    length: usize,
}

/// Number of characters to show on either side of the start of the fault.
const CONTEXT: usize = 100;

impl Diagnostic {
    /// Creates an error for the bytes `span` of `text`, the content of `path`.
    pub fn new(path: &str, text: &str, span: std::ops::Range<usize>, message: String) -> Self {
        let place = Place::of(text, span.start);
        let line = text.lines().nth(place.line - 1).unwrap_or("");
        // A line can be as long as the file. Only the part around the fault is kept.
        let skipped = place.column.saturating_sub(CONTEXT);
        let source = line.chars().skip(skipped).take(2 * CONTEXT).collect();
        let faulty = text.get(span.clone()).and_then(|text| text.lines().next()).unwrap_or("");
        Self {
            path: path.to_owned(),
            place,
            span: (span.start, span.end),
            severity: Severity::Error,
            message,
            help: None,
            source,
            skipped,
            length: faulty.chars().take(CONTEXT).count().max(1),
        }
    }

    /// Turns the diagnostic into a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Sets the remedy.
    #[must_use]
    pub fn with_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        let (path, message) = (Sanitized(&self.path), Sanitized(&self.message));
        writeln!(f, "{path}:{line}:{column}: {}: {message}", self.severity.as_str())?;
        if !self.source.is_empty() {
            let gutter = line.to_string().len();
            let end = column - 1 - self.skipped + self.length;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{line} | {}", Sanitized(&self.source))?;
            writeln!(f, "{:gutter$} | {:>end$}", "", "^".repeat(self.length))?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "  help: {}", Sanitized(help))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sanitize::is_hidden;

    #[test]
    fn display_underlines_the_fault_as_compilers_do() {
        let text = "schema = 1\nhëaps = 3\n";
        let start = text.find("hë").unwrap();
        let fault = Diagnostic::new("a.toml", text, start..start + 6, "unknown key".into())
            .with_help(Some("did you mean `heaps`?".into()));
        assert_eq!(
            fault.to_string(),
            "a.toml:2:1: error: unknown key\n  |\n2 | hëaps = 3\n  | ^^^^^\n  help: did you mean `heaps`?\n"
        );
    }

    #[test]
    fn display_contains_no_control_characters() {
        let text = "\u{1b}[2J\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}\u{ad}\u{2028}\u{9b}";
        let fault = Diagnostic::new("a\u{7}", text, 0..4, format!("{text}?"))
            .with_help(Some(text.to_owned()));
        let shown = fault.to_string();
        assert!(!shown.contains(|c| is_hidden(c) && c != '\n'), "{shown:?}");
    }

    #[test]
    fn long_line_is_cut_around_the_fault() {
        let text = format!("{}X{}", "a".repeat(10_000), "b".repeat(10_000));
        let shown = Diagnostic::new("f", &text, 10_000..10_001, "m".into()).to_string();
        assert!(shown.len() < 1_000);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[2].find('X'), lines[3].find('^').map(|at| at + "1".len() - 1));
    }

    #[test]
    fn warning_without_a_text_shows_no_line() {
        let fault = Diagnostic::new("a.toml", "", 0..0, "m".into()).as_warning();
        assert_eq!(fault.to_string(), "a.toml:1:1: warning: m\n");
    }

    #[test]
    fn spans_outside_the_text_do_not_panic() {
        let fault = Diagnostic::new("a", "x", 7..9, "m".into());
        assert_eq!(fault.place, Place { line: 1, column: 2 });
        assert!(fault.to_string().starts_with("a:1:2: error: m\n"));
    }
}
