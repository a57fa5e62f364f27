// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: every check that a change must pass. Its last line is `N passed, N failed`.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::Workspace;
use crate::{
    audit, boards, client, demo, dist, firmware, generator, host, kernel, release, scenario, units,
};

/// Runs everything, goes on after a failure, and prints the closing line. `false` if anything failed.
pub(crate) fn run(workspace: &Workspace) -> bool {
    let mut tally = Tally::default();
    // Programs are linked to libraries of the host's.
    tally.one("Debian packages", packages(workspace));
    tally.one("cargo fmt", component(workspace, "fmt", "rustfmt", &["--all", "--check"]));
    tally.one(
        "cargo clippy",
        component(
            workspace,
            "clippy",
            "clippy",
            &["--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"],
        ),
    );
    match unit_tests(workspace) {
        Ok((tests, built)) => {
            tally.passed += tests.passed;
            tally.failed += tests.failed;
            if tests.failed > 0 {
                tally.names.push(format!("{} unit tests", tests.failed));
            }
            // A test that does not build, or a doctest that dies, leaves no line to count.
            if !built && tests.failed == 0 {
                tally.one("cargo test", Err(anyhow::anyhow!("cargo test failed")));
            }
        }
        Err(error) => tally.one("cargo test", Err(error)),
    }
    tally.one("client", client::check(workspace));
    tally.one("firmware images", firmware::check(workspace));
    tally.one("boards", boards::check(workspace));
    if units::can_check() {
        tally.one("units", units::check(workspace));
    } else {
        println!("units ... skipped: this host has no systemd-analyze");
    }
    tally.perhaps("reuse", audit::reuse(workspace));
    tally.perhaps("cargo deny", audit::deny(workspace));
    tally.perhaps("cargo deny advisories", audit::advisories(workspace));
    tally.perhaps("sbom", dist::sbom::check(workspace));
    tally.perhaps("offline build", dist::offline::check(workspace));
    tally.one("SELinux module", dist::selinux::check(workspace));
    tally.one("Debian's packages", dist::deb::check(workspace));
    match scenario::run_all(workspace) {
        Ok(results) => {
            for (name, good) in results {
                if good {
                    tally.passed += 1;
                } else {
                    tally.failed += 1;
                    tally.names.push(format!("scenario {name}"));
                }
            }
        }
        Err(error) => tally.one("scenarios", Err(error)),
    }
    tally.one("packages for Fedora", dist::rpm::check(workspace));
    tally.one("packages for Arch Linux", dist::arch::check(workspace));
    tally.one("reproducible programs", dist::reproducible::check(workspace));
    tally.one("dkms", dist::dkms::check(workspace));
    tally.one("initrds", generator::check(workspace));
    tally.one("signed images", demo::uki::check(workspace));
    tally.one("checkpatch", kernel::check_patches(workspace));
    if !tally.names.is_empty() {
        println!("failed: {}", tally.names.join(", "));
    }
    if tally.failed == 0
        && let Err(error) = release::passed(workspace)
    {
        eprintln!("warning: {error:#}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    tally.failed == 0
}

fn packages(workspace: &Workspace) -> Result<()> {
    let _lock = workspace.lock()?;
    host::prepare(workspace, &[])
}

/// What became of a check that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It looked, and all was well.
    Good,
    /// It did not look, and why.
    Skipped(String),
}

/// What passed and what failed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u32,
    failed: u32,
    names: Vec<String>,
}

impl Tally {
    fn one(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                println!("{name} ... ok");
                self.passed += 1;
            }
            Err(error) => {
                println!("{name} ... FAILED: {error:#}");
                self.failed += 1;
                self.names.push(name.to_owned());
            }
        }
    }

    /// A check that needs what a host may not have.
    fn perhaps(&mut self, name: &str, result: Result<Outcome>) {
        match result {
            Ok(Outcome::Skipped(why)) => println!("{name} ... skipped: {why}"),
            result => self.one(name, result.map(|_| ())),
        }
    }

    /// Adds what a line of `cargo test` says: `test result: ok. 5 passed; 0 failed; ...`.
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

/// Cargo, to be run in this checkout.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&workspace.root);
    command
}

/// Runs a cargo command that is a component of its own, added where rustup left it out.
fn component(
    workspace: &Workspace,
    subcommand: &str,
    component: &str,
    args: &[&str],
) -> Result<()> {
    let there = |mut command: Command| {
        command.args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !there(cargo(workspace)) {
        let added = Command::new("rustup").args(["component", "add", component]).status();
        if !added.is_ok_and(|status| status.success()) {
            bail!(
                "cargo has no `{subcommand}`: install {component} (`rustup component add {component}`)"
            );
        }
    }
    let status = cargo(workspace)
        .arg(subcommand)
        .args(args)
        .status()
        .with_context(|| format!("running cargo {subcommand}"))?;
    if !status.success() {
        bail!("see above");
    }
    Ok(())
}

/// Runs the unit tests, shows what they print, and counts them.
fn unit_tests(workspace: &Workspace) -> Result<(Tally, bool)> {
    let mut child = cargo(workspace)
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("running cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("reading the output of cargo test")?;
        println!("{line}");
        tally.hear(&line);
    }
    let status = child.wait().context("waiting for cargo test")?;
    Ok((tally, status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_test_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 5 tests",
            "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 7 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s",
        ] {
            tally.hear(line);
        }
        assert_eq!(tally, Tally { passed: 12, failed: 2, names: Vec::new() });
    }

    #[test]
    fn what_is_skipped_counts_for_nothing() {
        let mut tally = Tally::default();
        tally.perhaps("there", Ok(Outcome::Good));
        tally.perhaps("not there", Ok(Outcome::Skipped("no network".to_owned())));
        tally.perhaps("wrong", Err(anyhow::anyhow!("wrong")));
        assert_eq!((tally.passed, tally.failed), (1, 1));
    }
}
