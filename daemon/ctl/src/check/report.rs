// SPDX-License-Identifier: MIT OR Apache-2.0

//! The problems, as text and for editors.

use protheap_policy::diagnostic::{Diagnostic, Severity};
use protheap_policy::lint::Checked;
use serde::Serialize;

/// The output as JSON.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    files: usize,
    pub(super) errors: usize,
    warnings: usize,
    more: usize,
    problems: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    path: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    severity: Severity,
    message: &'a str,
    help: Option<&'a str>,
}

impl<'a> Report<'a> {
    pub(super) fn of(files: &'a [(String, bool, Checked)]) -> Self {
        let all = || files.iter().flat_map(|(_, _, file)| &file.problems);
        let count = |severity| all().filter(|problem| problem.severity == severity).count();
        let more = files.iter().map(|(_, _, file)| file.more).sum();
        let shown = |(file, problem): (&Checked, &'a Diagnostic)| {
            let end = file.end(problem);
            Shown {
                path: &problem.path,
                line: problem.place.line,
                column: problem.place.column,
                end_line: end.line,
                end_column: end.column,
                severity: problem.severity,
                message: &problem.message,
                help: problem.help.as_deref(),
            }
        };
        let each =
            files.iter().flat_map(|(_, _, file)| file.problems.iter().map(move |one| (file, one)));
        Self {
            files: files.iter().filter(|(_, is_file, _)| *is_file).count(),
            errors: count(Severity::Error) + more,
            warnings: count(Severity::Warning),
            more,
            problems: each.map(shown).collect(),
        }
    }

    pub(super) fn text(&self, files: &[(String, bool, Checked)]) -> String {
        let mut text = String::new();
        for (path, _, file) in files {
            for problem in &file.problems {
                text += &problem.to_string();
                text.push('\n');
            }
            if file.more > 0 {
                let more = format!("and {} more", file.more);
                text += &Diagnostic::new(path, "", 0..0, more).to_string();
                text.push('\n');
            }
        }
        text
    }

    pub(super) fn summary(&self) -> String {
        let count = |number: usize, word: &str| match number {
            1 => format!("1 {word}"),
            _ => format!("{number} {word}s"),
        };
        let Self { files, errors, warnings, .. } = *self;
        format!(
            "{}, {}, {}",
            count(files, "file"),
            count(errors, "error"),
            count(warnings, "warning")
        )
    }
}
