// SPDX-License-Identifier: MIT OR Apache-2.0

//! Recovers the valid statements of a file that is not valid TOML.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::Faults;
use crate::diagnostic::Diagnostic;
use crate::fragment::not_toml;

/// Maximum depth of nested brackets.
const DEEPEST: usize = 100;

/// A header, or a key with its value.
struct Statement {
    span: Range<usize>,
    /// Position of a bracket in the statement that is never closed.
    open: Option<usize>,
}

/// Result of the recovery.
#[derive(Default)]
pub(super) struct Recovered {
    /// The text with invalid statements replaced by blanks, so that positions stay the same.
    pub(super) text: String,
    /// Headers of tables that have lost a statement.
    damaged: Vec<Range<usize>>,
    /// Invalid statements of several lines that were left in the text.
    left: Vec<Range<usize>>,
    /// Lines of the faults in those statements.
    lines: Vec<Range<usize>>,
}

/// Returns the first of the ordered `ranges` that ends after `at`.
fn after(ranges: &[Range<usize>], at: usize) -> Option<&Range<usize>> {
    ranges.get(ranges.partition_point(|range| range.end <= at))
}

impl Recovered {
    /// Returns whether the table at this byte has lost a statement.
    pub(super) fn is_damaged(&self, at: usize) -> bool {
        after(&self.damaged, at).is_some_and(|header| header.start <= at)
    }

    /// Returns whether a fault at these bytes may follow from one that is already reported.
    pub(super) fn is_reported(&self, span: (usize, usize)) -> bool {
        after(&self.lines, span.0).is_some_and(|line| line.start < span.1)
    }

    /// Returns the parser's errors that are not reported yet.
    pub(super) fn unreported(&self, mut errors: Vec<Error>) -> Vec<Error> {
        let at = |error: &Error| error.span().unwrap_or_default().start;
        let is_left = |at| after(&self.left, at).is_some_and(|span| span.start <= at);
        errors.retain(|error| !is_left(at(error)));
        errors
    }

    /// Removes the invalid statements from `text`, and adds their faults.
    pub(super) fn of(path: &str, text: &str, faults: &mut Faults) -> Self {
        let mut recovered = Self::default();
        let mut bytes = text.as_bytes().to_vec();
        let mut header = 0..1;
        let mut is_lost = false;
        for statement in statements(text) {
            let span = statement.span.clone();
            let part = text.get(span.clone()).unwrap_or_default();
            let is_header = part.trim_start().starts_with('[');
            let before = faults.kept.len();
            let is_faulty = note(path, text, &statement, part, faults);
            if is_header {
                header = span.clone();
                // Without its header, a statement would seem to belong to the table before.
                is_lost = is_faulty;
            }
            if !is_faulty && !is_lost {
                continue;
            }
            let reported = faults.kept.get(before..).unwrap_or_default();
            if statement.open.is_none()
                && part.matches('\n').count() > 1
                && !is_lost
                && !reported.is_empty()
            {
                let lines = reported.iter().map(|fault| line_of(text, fault.span.0));
                recovered.lines.extend(lines);
                recovered.left.push(span);
                continue;
            }
            let lost = bytes.get_mut(span).into_iter().flatten();
            lost.filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            if recovered.damaged.last() != Some(&header) {
                recovered.damaged.push(header.clone());
            }
        }
        Self { text: String::from_utf8(bytes).unwrap_or_default(), ..recovered }
    }
}

/// Returns the range of the line that contains a byte.
fn line_of(text: &str, at: usize) -> Range<usize> {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    start..line_end(text, at)
}

/// Adds the faults of one statement. Returns whether there are any.
fn note(path: &str, text: &str, statement: &Statement, part: &str, faults: &mut Faults) -> bool {
    let (_, errors) = DeTable::parse_recoverable(part);
    if errors.is_empty() {
        return false;
    }
    let Some(open) = statement.open else {
        note_lines(path, text, statement.span.clone(), &errors, faults);
        return true;
    };
    let (what, missing) = match text.as_bytes().get(open) {
        Some(b'[') => ("array", ']'),
        _ => ("table", '}'),
    };
    let message = format!("unclosed {what}");
    let fault = || Diagnostic::new(path, text, open..open + 1, message);
    faults.push(|| fault().with_help(Some(format!("add the missing `{missing}`"))));
    true
}

/// Adds the parser's errors for the bytes `span` of `text`: the first error of each line, because
/// further errors on a line are mostly consequences of the first.
pub(super) fn note_lines(
    path: &str,
    text: &str,
    span: Range<usize>,
    errors: &[Error],
    faults: &mut Faults,
) {
    let offset = span.start;
    let part = text.get(span).unwrap_or_default();
    let start = |error: &&Error| error.span().unwrap_or_default().start.min(part.len());
    let mut errors: Vec<_> = errors.iter().collect();
    // An unterminated string explains the other errors on its line.
    errors.sort_by_key(|error| (start(error), !is_of_string(error)));
    let mut reported = None;
    for error in errors {
        let at = start(&error);
        let line = part.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        // An error at the end of the text concerns the line before, and has no text to show.
        if reported == Some(line) || (reported.is_some() && at == part.len()) {
            continue;
        }
        reported = Some(line);
        faults.push(|| not_toml(path, text, offset, error).with_help(help(part, line, error)));
    }
}

fn is_of_string(error: &Error) -> bool {
    let message = error.message();
    message.starts_with("invalid ") && message.contains(" string, expected")
}

/// Returns the remedy for an error in the line of `part` that begins at `line`.
fn help(part: &str, line: usize, error: &Error) -> Option<String> {
    let line = part.get(line..)?.lines().next()?;
    let at = error.span()?;
    let message = error.message();
    let unquoted =
        ["string values must be quoted", "invalid boolean", "invalid float", "invalid inf"];
    if unquoted.iter().any(|start| message.starts_with(start)) {
        let rest = part.get(at.start..)?.lines().next()?;
        let end = rest.find([',', '#', '}', ']', '"', '\'']).unwrap_or(rest.len());
        let bare = rest.get(..end)?.trim();
        if bare.contains(char::is_control) {
            return None;
        }
        return Some(match bare {
            "" => "write a value after the `=`".to_owned(),
            "True" | "TRUE" | "yes" | "on" => "write true".to_owned(),
            "False" | "FALSE" | "no" | "off" => "write false".to_owned(),
            _ => format!("write \"{bare}\""),
        });
    }
    if is_of_string(error) {
        let quote = error.message().rsplit("expected ").next()?;
        return ["`\"`", "`'`"].contains(&quote).then(|| format!("add the missing {quote}"));
    }
    if message.starts_with("duplicate key") {
        return Some("define each table, and each key in a table, only once per file".to_owned());
    }
    if message.starts_with("missing comma") {
        return Some("write a `,` between the elements".to_owned());
    }
    let colon = line.find(':').is_some_and(|colon| !line.get(..colon).unwrap_or("").contains('='));
    colon.then(|| "write `=` between a key and its value".to_owned())
}

/// Splits a text into statements, also after a statement with an unclosed bracket.
fn statements(text: &str) -> Vec<Statement> {
    let bytes = text.as_bytes();
    let mut all = Vec::new();
    let mut start = 0;
    // Positions of the open brackets.
    let mut open: Vec<usize> = Vec::new();
    // Position of a bracket that was open when an outer bracket was closed.
    let mut crossed = None;
    let mut in_value = false;
    let mut unclosed = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => {
                at = line_end(text, at);
                continue;
            }
            b'"' | b'\'' => {
                at = string_end(text, at, &mut unclosed);
                continue;
            }
            b'=' => in_value = true,
            // The parser rejects deeper nesting.
            b'[' | b'{' if in_value && open.len() < DEEPEST => open.push(at),
            b']' | b'}' => crossed = crossed.or(close(bytes, &mut open, *byte)),
            b'\n' => {
                let next = text.get(at + 1..).unwrap_or_default();
                let is_array = open.last().is_some_and(|open| bytes.get(*open) == Some(&b'['));
                // The keys of an inline table can be on separate, indented lines.
                let is_next = is_array || !next.starts_with([' ', '\t']);
                if open.is_empty() || begins_table(next) || (is_next && begins_key(next)) {
                    let open_one = crossed.take().or(open.last().copied());
                    all.push(Statement { span: start..at + 1, open: open_one });
                    start = at + 1;
                    open.clear();
                    in_value = false;
                }
            }
            _ => {}
        }
        at += 1;
    }
    all.push(Statement { span: start..bytes.len(), open: crossed.or(open.last().copied()) });
    all
}

/// Closes the last open bracket that `by` matches, and those inside it. Returns the innermost of
/// the latter.
fn close(bytes: &[u8], open: &mut Vec<usize>, by: u8) -> Option<usize> {
    let opens = if by == b']' { b'[' } else { b'{' };
    let last = open.iter().rposition(|at| bytes.get(*at) == Some(&opens))?;
    let inner = open.get(last + 1..).and_then(<[usize]>::last).copied();
    open.truncate(last);
    inner
}

fn line_end(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |end| at + end)
}

/// Returns the end of the string that begins at `at`, or the end of the line if it is not
/// terminated. `unclosed` collects quotes that do not occur in the rest of the text.
fn string_end(text: &str, at: usize, unclosed: &mut Vec<String>) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let quote = rest.get(..1).unwrap_or_default();
    let long = quote.repeat(3);
    if rest.starts_with(&long) && !unclosed.contains(&long) {
        if let Some(end) = rest.get(3..).and_then(|rest| rest.find(&long)) {
            return at + 3 + end + 3;
        }
        unclosed.push(long);
    }
    let mut is_escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return at + index,
            '\\' if quote == "\"" => is_escaped = !is_escaped,
            c if quote.starts_with(c) && !is_escaped => return at + index + 1,
            _ => is_escaped = false,
        }
    }
    text.len()
}

/// Returns whether the text begins with `[name` or `[[name`. No array in a policy begins so.
fn begins_table(text: &str) -> bool {
    let line = text.trim_start_matches([' ', '\t']);
    let name = line.strip_prefix("[[").or(line.strip_prefix('[')).map(str::trim_start);
    name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Returns whether the text begins with `name =`.
fn begins_key(text: &str) -> bool {
    let line = text.trim_start_matches([' ', '\t']);
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    let after = line.trim_start_matches(bare);
    after.len() < line.len() && after.trim_start_matches(' ').starts_with('=')
}
