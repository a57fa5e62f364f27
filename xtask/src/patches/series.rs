// SPDX-License-Identifier: MIT OR Apache-2.0
//! Series of patches, and their cover letters.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Workspace};

/// Letter to the recipients of a series, beside its patches.
const LETTER: &str = "cover-letter.txt";
/// Line of a letter that lists the scenarios which show what the series claims.
const SCENARIOS: &str = "Scenarios: ";

/// Patches that are sent together.
#[derive(Debug)]
pub(super) struct Series {
    /// Directory below `driver/patches`.
    pub(super) name: String,
    pub(super) patches: Vec<PathBuf>,
    letter: Option<String>,
}

impl Series {
    /// Returns the scenarios that the letter lists.
    pub(super) fn scenarios(&self) -> impl Iterator<Item = &str> {
        let letter = self.letter.as_deref().unwrap_or_default();
        letter
            .lines()
            .filter_map(|line| line.strip_prefix(SCENARIOS))
            .flat_map(str::split_whitespace)
    }
}

/// Returns all series in the order in which they are applied.
pub(super) fn all(workspace: &Workspace) -> Result<Vec<Series>> {
    let dir = workspace.root.join("driver/patches");
    let mut found: Vec<Series> = Vec::new();
    for part in ["upstream", "protheap"] {
        for path in cache::files(&dir.join(part))? {
            let parent = path.parent().context("a patch has no directory")?;
            let name = parent.strip_prefix(&dir)?.to_string_lossy().into_owned();
            if found.last().is_none_or(|last| last.name != name) {
                found.push(Series { name, patches: Vec::new(), letter: None });
            }
            let last = found.last_mut().context("no series")?;
            match path.extension() {
                Some(extension) if extension == "patch" => last.patches.push(path),
                _ if path.ends_with(LETTER) => last.letter = Some(cache::read(&path)?),
                _ => bail!("{} is neither a patch nor a {LETTER}", path.display()),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cover_letters_are_complete() {
        let workspace = Workspace::open().unwrap();
        let all = all(&workspace).unwrap();
        let mut letters = 0;
        for series in all.iter().filter(|series| series.letter.is_some()) {
            let letter = series.letter.as_deref().unwrap_or_default();
            let count = format!("Subject: [PATCH 0/{}] ", series.patches.len());
            for begin in [&*count, "To: ", "Cc: ", "Base: ", SCENARIOS] {
                let found = letter.lines().any(|line| line.starts_with(begin));
                assert!(found, "{}: no line `{begin}`", series.name);
            }
            for name in series.scenarios() {
                let script = workspace.root.join(format!("tests/vm/scenarios/{name}.sh"));
                assert!(script.is_file(), "{}: no scenario {name}", series.name);
            }
            letters += 1;
        }
        assert!(letters >= 7, "{letters} cover letters");
    }
}
