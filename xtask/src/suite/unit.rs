// SPDX-License-Identifier: MIT OR Apache-2.0
//! Steps that only run cargo: formatting, lints, and the unit tests.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::cache::Workspace;
use crate::tested::Outcome;

pub(super) fn fmt(workspace: &Workspace) -> Result<Outcome> {
    component(workspace, "fmt", "rustfmt", &["--all", "--check"])
}

pub(super) fn clippy(workspace: &Workspace) -> Result<Outcome> {
    let args = ["--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
    component(workspace, "clippy", "clippy", &args)
}

/// Runs a cargo command that is a separate component.
fn component(
    workspace: &Workspace,
    subcommand: &str,
    component: &str,
    args: &[&str],
) -> Result<Outcome> {
    let output = workspace
        .cargo()
        .arg(subcommand)
        .args(args)
        .output()
        .with_context(|| format!("failed to run cargo {subcommand}"))?;
    let text = [output.stdout, output.stderr].map(|o| String::from_utf8_lossy(&o).into_owned());
    if output.status.success() {
        return Ok(Outcome::Good);
    }
    let text = text.concat();
    // Messages of rustup for a missing component, and of cargo without rustup.
    if text.contains("is not installed for the toolchain") || text.contains("no such command") {
        bail!(
            "cargo has no `{subcommand}`: install {component} (`rustup component add {component}`)"
        );
    }
    bail!("{}", text.trim())
}

/// Runs the unit tests, prints their output, and counts them.
pub(super) fn test(workspace: &Workspace) -> Result<Outcome> {
    let mut child = workspace
        .cargo()
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to run cargo test")?;
    let errors = child.stderr.take().context("cargo test has no standard error")?;
    // Both pipes are read at once: a full one would block cargo.
    let errors = std::thread::spawn(move || {
        BufReader::new(errors).lines().map_while(Result::ok).collect::<Vec<_>>()
    });
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("failed to read the output of cargo test")?;
        say!("{line}");
        counts.hear(&line);
    }
    let status = child.wait().context("failed to wait for cargo test")?;
    // A test that does not build, or a doctest that crashes, has no line to count.
    if !status.success() {
        let errors = errors.join().unwrap_or_default();
        if counts.failed == 0 {
            bail!("cargo test failed:\n{}", errors.join("\n"));
        }
        errors.iter().for_each(|line| say!("{line}"));
    }
    Ok(Outcome::Tests { passed: counts.passed, failed: counts.failed })
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u32,
    failed: u32,
}

impl Counts {
    /// Adds the numbers of a line of `cargo test`: `test result: ok. 5 passed; 0 failed; ...`.
    fn hear(&mut self, line: &str) {
        let Some((_, counts)) =
            line.split_once("test result: ").and_then(|(_, rest)| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            match (words.next().and_then(|n| n.parse::<u32>().ok()), words.next()) {
                (Some(number), Some("passed")) => self.passed += number,
                (Some(number), Some("failed")) => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_test_are_summed() {
        let mut counts = Counts::default();
        for line in [
            "running 5 tests",
            "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 7 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s",
        ] {
            counts.hear(line);
        }
        assert_eq!(counts, Counts { passed: 12, failed: 2 });
    }
}
