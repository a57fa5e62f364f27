// SPDX-License-Identifier: MIT OR Apache-2.0

//! What can be read of a file that is not TOML: all of it but the statements that are at fault.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::Faults;
use crate::diagnostic::Diagnostic;
use crate::fragment::not_toml;

/// The most brackets in each other that are looked at.
const DEEPEST: usize = 100;

/// A header, or a key with its value.
struct Statement {
    span: Range<usize>,
    /// A bracket in it that is never closed.
    open: Option<usize>,
}

/// What was made of a text.
#[derive(Default)]
pub(super) struct Recovered {
    /// The text, with blanks for what is at fault, so that places are those of the whole.
    pub(super) text: String,
    /// The headers of tables that have lost something.
    damaged: Vec<Range<usize>>,
    /// Statements of several lines that are at fault, and were left in the text.
    left: Vec<Range<usize>>,
    /// The lines of those that are at fault.
    lines: Vec<Range<usize>>,
}

/// The first of some ranges, which are in order, that ends after `at`.
fn after(ranges: &[Range<usize>], at: usize) -> Option<&Range<usize>> {
    ranges.get(ranges.partition_point(|range| range.end <= at))
}

impl Recovered {
    /// What stands at this byte has lost something.
    pub(super) fn is_damaged(&self, at: usize) -> bool {
        after(&self.damaged, at).is_some_and(|header| header.start <= at)
    }

    /// What is said of these bytes may come of a fault that is told already.
    pub(super) fn is_told(&self, span: (usize, usize)) -> bool {
        after(&self.lines, span.0).is_some_and(|line| line.start < span.1)
    }

    /// The parser's errors that are not told yet.
    pub(super) fn untold(&self, mut errors: Vec<Error>) -> Vec<Error> {
        let at = |error: &Error| error.span().unwrap_or_default().start;
        let is_left = |at| after(&self.left, at).is_some_and(|span| span.start <= at);
        errors.retain(|error| !is_left(at(error)));
        errors
    }

    /// Takes the statements that are no TOML out of `text`, and notes their faults.
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
                // What stands below a header that is lost would seem to belong to the one before.
                is_lost = is_faulty;
            }
            if !is_faulty && !is_lost {
                continue;
            }
            let told = faults.kept.get(before..).unwrap_or_default();
            if statement.open.is_none()
                && part.matches('\n').count() > 1
                && !is_lost
                && !told.is_empty()
            {
                let lines = told.iter().map(|fault| line_of(text, fault.span.0));
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

/// The line that a byte stands in.
fn line_of(text: &str, at: usize) -> Range<usize> {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    start..line_end(text, at).max(start + 1)
}

/// Notes the faults of one statement; true if there are any.
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
    let message = format!("this {what} is never closed");
    let fault = || Diagnostic::new(path, text, open..open + 1, message);
    faults.push(|| fault().with_help(Some(format!("a `{missing}` is missing"))));
    true
}

/// Notes what the parser says of the bytes `span` of `text`: the first error of each line, as what
/// follows on it is mostly about the first.
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
    // That a string does not end explains what else is missing there.
    errors.sort_by_key(|error| (start(error), !is_of_string(error)));
    let mut told = None;
    for error in errors {
        let at = start(&error);
        let line = part.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        // At the end of the text nothing can be shown: it is about the line before.
        if told == Some(line) || (told.is_some() && at == part.len()) {
            continue;
        }
        told = Some(line);
        faults.push(|| not_toml(path, text, offset, error).with_help(help(part, line, error)));
    }
}

fn is_of_string(error: &Error) -> bool {
    let message = error.message();
    message.starts_with("invalid ") && message.contains(" string, expected")
}

/// What to do about an error in the line of `part` that begins at `line`.
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
        return ["`\"`", "`'`"].contains(&quote).then(|| format!("a {quote} is missing"));
    }
    if message.starts_with("duplicate key") {
        return Some("each table, and each key in it, stands only once in a file".to_owned());
    }
    if message.starts_with("missing comma") {
        return Some("write a `,` between the elements".to_owned());
    }
    let colon = line.find(':').is_some_and(|colon| !line.get(..colon).unwrap_or("").contains('='));
    colon.then(|| "write `=` between a key and its value".to_owned())
}

/// Takes a text apart where statements begin, also where the one before is not closed.
fn statements(text: &str) -> Vec<Statement> {
    let bytes = text.as_bytes();
    let mut all = Vec::new();
    let mut start = 0;
    // The brackets that are open.
    let mut open: Vec<usize> = Vec::new();
    // One that was still open when that around it was closed.
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
            // What is deeper the parser refuses.
            b'[' | b'{' if in_value && open.len() < DEEPEST => open.push(at),
            b']' | b'}' => crossed = crossed.or(close(bytes, &mut open, *byte)),
            b'\n' => {
                let next = text.get(at + 1..).unwrap_or_default();
                let is_array = open.last().is_some_and(|open| bytes.get(*open) == Some(&b'['));
                // A table can have its keys on lines of their own: these are indented.
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

/// Closes the last bracket that this one can close, and those in it: returns the innermost of these.
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

/// Where the string that begins at `at` ends: with its line, if nothing closes it. `unclosed` are
/// the quotes of which there are no more.
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

/// The text begins with `[name` or `[[name`: no array does in a policy.
fn begins_table(text: &str) -> bool {
    let line = text.trim_start_matches([' ', '\t']);
    let name = line.strip_prefix("[[").or(line.strip_prefix('[')).map(str::trim_start);
    name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// The text begins with `name =`.
fn begins_key(text: &str) -> bool {
    let line = text.trim_start_matches([' ', '\t']);
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    let after = line.trim_start_matches(bare);
    after.len() < line.len() && after.trim_start_matches(' ').starts_with('=')
}
