// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results of earlier tests in the cache: their durations, and the inputs with which they passed.
//!
//! There is one file for each test, shared by all checkouts. Its first line is the duration of the last run in
//! milliseconds; each further line is a digest of inputs with which the test passed, and the time of that run.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache::{self, Workspace};
use crate::progress::output;
use crate::tested::Outcome;

/// Number of inputs that are kept for each test, because branches change back and forth.
const KEPT: usize = 8;

/// The results of all tests.
#[derive(Debug)]
pub(crate) struct Results {
    dir: PathBuf,
    now: String,
    fresh: bool,
}

impl Results {
    /// Opens the results. If `fresh`, no test counts as passed.
    pub(crate) fn open(workspace: &Workspace, fresh: bool) -> Result<Self> {
        let now = output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
        Ok(Self { dir: workspace.cache.join("results"), now: now.trim().to_owned(), fresh })
    }

    fn file(&self, name: &str) -> PathBuf {
        let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        self.dir.join(name.chars().map(safe).collect::<String>())
    }

    /// Returns the duration of the last run of a test.
    pub(crate) fn estimate(&self, name: &str) -> Option<Duration> {
        let text = cache::read(&self.file(name)).ok()?;
        Some(Duration::from_millis(text.lines().next()?.parse().ok()?))
    }

    /// Returns when a test passed with these inputs, if it has.
    fn passed(&self, name: &str, inputs: &str) -> Option<String> {
        if self.fresh {
            return None;
        }
        let text = cache::read(&self.file(name)).ok()?;
        let mut lines = text.lines().skip(1).filter_map(|line| line.split_once(' '));
        lines.find(|(digest, _)| *digest == inputs).map(|(_, when)| when.to_owned())
    }

    /// Runs a test, unless it has passed with these inputs before; `None` if they are not all known. Records a pass and
    /// its duration, if `keeps`.
    pub(crate) fn once(
        &self,
        name: &str,
        inputs: Option<&str>,
        keeps: bool,
        run: impl FnOnce() -> Result<Outcome>,
    ) -> Result<Outcome> {
        if let Some(when) = inputs.and_then(|inputs| self.passed(name, inputs)) {
            say!("{name} ... unchanged since it passed at {when}");
            return Ok(Outcome::Unchanged);
        }
        let started = Instant::now();
        let outcome = run()?;
        let passed = !matches!(outcome, Outcome::Tests { failed: 1.., .. } | Outcome::Skipped(_));
        if passed && keeps {
            self.keep(name, inputs.unwrap_or("-"), started.elapsed())?;
        }
        Ok(outcome)
    }

    /// Records that a test passed now.
    fn keep(&self, name: &str, inputs: &str, took: Duration) -> Result<()> {
        let path = self.file(name);
        let old = cache::read(&path).unwrap_or_default();
        let others = old.lines().skip(1).filter(|line| !line.starts_with(inputs)).take(KEPT - 1);
        let mut text = format!("{}\n{inputs} {}\n", took.as_millis(), self.now);
        others.for_each(|line| text += &format!("{line}\n"));
        cache::write(&path, text).context("failed to record a result")
    }
}

/// Returns the commit of this tree; fails if something is not committed.
pub(crate) fn commit(workspace: &Workspace) -> Result<String> {
    let changed = workspace.git(&["status", "--porcelain"])?;
    if let Some(first) = changed.lines().next() {
        let number = changed.lines().count();
        bail!("{number} paths are not committed (`{first}`): commit or remove them");
    }
    workspace.git(&["rev-parse", "HEAD"])
}

/// File with the last commit whose tests have all passed.
fn passed_commit(workspace: &Workspace) -> PathBuf {
    workspace.checkout.join("passed")
}

/// Records that all tests of this commit have passed, if everything is committed.
pub(crate) fn keep_commit(workspace: &Workspace) -> Result<()> {
    let Ok(commit) = commit(workspace) else { return Ok(()) };
    cache::write(&passed_commit(workspace), commit)
}

/// Returns whether that commit is the last one whose tests have all passed.
pub(crate) fn has_commit(workspace: &Workspace, commit: &str) -> bool {
    cache::read(&passed_commit(workspace)).is_ok_and(|passed| passed == commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_counts_only_with_the_same_inputs() {
        let dir = std::env::temp_dir().join(format!("xtask-results-{}", std::process::id()));
        cache::remove_dir(&dir).unwrap();
        let mut results = Results { dir: dir.clone(), now: "now".to_owned(), fresh: false };
        assert_eq!((results.passed("a (b)", "01"), results.estimate("a (b)")), (None, None));
        results.keep("a (b)", "01", Duration::from_millis(1500)).unwrap();
        results.keep("a (b)", "02", Duration::from_millis(2500)).unwrap();
        assert_eq!(results.passed("a (b)", "01").as_deref(), Some("now"));
        assert_eq!(results.passed("a (b)", "02").as_deref(), Some("now"));
        assert_eq!(results.passed("a (b)", "03"), None);
        assert_eq!(results.passed("other", "01"), None);
        assert_eq!(results.estimate("a (b)"), Some(Duration::from_millis(2500)));
        for number in 0..2 * KEPT {
            results.keep("a (b)", &format!("1{number}"), Duration::ZERO).unwrap();
        }
        assert_eq!(results.passed("a (b)", "01"), None);
        results.fresh = true;
        assert_eq!(results.passed("a (b)", "10"), None);
        cache::remove_dir(&dir).unwrap();
    }
}
