// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks the language of changed lines: comments and documents name a thing and say what it does.

use anyhow::{Result, bail};

use crate::cache::Workspace;
use crate::tested::Outcome;

/// Beginnings of a comment, and what to write instead.
const BEGINNINGS: [(&str, &str); 3] = [
    ("What ", "name the thing: `Time left until ...`, `Returns the ...`"),
    ("Whether there is ", "write `Returns whether ...` and name the thing"),
    ("It is told ", "name who logs or reports it"),
];

/// Phrases anywhere in a comment or document, and what to write instead.
const PHRASES: [(&str, &str); 9] = [
    ("tell", "`report`, `log` or `notify`"),
    ("tells", "`reports`, `logs` or `notifies`"),
    ("told", "`reported`, `logged` or `notified`"),
    ("goes without", "`is unprotected`, `has no`"),
    ("go without", "`be unprotected`, `have no`"),
    ("lets go of", "`releases`"),
    ("let go of", "`release`, `released`"),
    ("somebody", "the actor: the caller, the daemon, an administrator"),
    ("affair", "what depends on what"),
];

/// Files whose lines are checked.
const FILES: [&str; 7] =
    ["*.c", "*.h", "*.md", "*.rs", "*.sh", "*.toml", ":!xtask/src/suite/style.rs"];

/// Checks the lines that were added since the commit on which the work is based.
pub(super) fn check(workspace: &Workspace) -> Result<Outcome> {
    let revision = |name: &str| workspace.git(&["rev-parse", "--verify", "--quiet", name]);
    let Some(base) = ["origin/HEAD", "HEAD~1"].into_iter().find(|base| revision(base).is_ok())
    else {
        return Ok(Outcome::Skipped("there is no commit to compare with".to_owned()));
    };
    let mut diff = vec!["diff", "--unified=0", "--no-color", "--no-ext-diff", "--no-prefix"];
    diff.extend(["--merge-base", base, "--"]);
    diff.extend(FILES);
    let faults = faults(&workspace.git(&diff)?);
    if faults.is_empty() {
        return Ok(Outcome::Good);
    }
    bail!("comments that should name things and actors:\n{}", faults.join("\n"))
}

/// Returns a line for each fault in the added lines of a diff without context.
fn faults(diff: &str) -> Vec<String> {
    let (mut path, mut number) = ("", 0_usize);
    let mut faults = Vec::new();
    for line in diff.lines() {
        if let Some(name) = line.strip_prefix("+++ ") {
            path = name;
        } else if let Some(hunk) = line.strip_prefix("@@ ") {
            let added = hunk.split(' ').find_map(|part| part.strip_prefix('+'));
            let first = added.and_then(|added| added.split(',').next());
            number = first.and_then(|first| first.parse().ok()).unwrap_or_default();
        } else if let Some(text) = line.strip_prefix('+') {
            faults.extend(remedies(path, text).map(|(found, instead)| {
                format!("  {path}:{number}: \"{}\": write {instead}", found.trim())
            }));
            number += 1;
        }
    }
    faults
}

/// Returns whether a file is a document, not code.
fn is_document(path: &str) -> bool {
    path.ends_with(".md")
}

/// Returns the part of a line that is prose: all of a document's, else the comment.
fn prose<'l>(path: &str, line: &'l str) -> &'l str {
    let line = line.trim();
    let after = |mark: &str| line.split_once(mark).map_or("", |(_, comment)| comment);
    let comment = match path.rsplit('.').next() {
        _ if is_document(path) => line,
        Some("sh" | "toml") => after("#"),
        _ if line.starts_with("* ") || line.starts_with("/*") => line,
        _ => after("//"),
    };
    comment.trim_start_matches(['/', '!', '#', '*', '-', ' '])
}

/// Returns the patterns in a line of a file, and what to write instead.
fn remedies(path: &str, line: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let prose = prose(path, line);
    let begins = |begin: &str| !is_document(path) && prose.starts_with(begin);
    let beginnings: Vec<_> = BEGINNINGS.into_iter().filter(|(begin, _)| begins(begin)).collect();
    // Code is quoted as it is.
    let text: String = prose.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|w| !w.is_empty());
    let words = format!(" {} ", words.collect::<Vec<_>>().join(" "));
    let has = move |phrase: &str| words.contains(&format!(" {phrase} "));
    beginnings.into_iter().chain(PHRASES.into_iter().filter(move |(phrase, _)| has(phrase)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_documents_are_checked() {
        let diff = "\
--- a.rs
+++ a.rs
@@ -3,0 +4,3 @@ fn f()
+    let told = 1; // Somebody waits.
+/// What came of it.
+    let text = \"it is told\";
--- d.md
+++ d.md
@@ -1 +1,2 @@
-old
+The daemon tells nobody; `told` is code.
+## What is measured
--- s.sh
+++ s.sh
@@ -9,0 +10,2 @@
+check 'it is told' true
+# the GPU goes without
";
        let found = faults(diff);
        let places: Vec<_> =
            found.iter().map(|fault| fault.split(": ").next().unwrap().trim()).collect();
        assert_eq!(places, ["a.rs:5", "d.md:1", "s.sh:11"]);
        assert!(found[2].ends_with("write `is unprotected`, `has no`"), "{}", found[2]);
    }
}
