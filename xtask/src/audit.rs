// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks by external tools: `reuse` for licences and copyright, `cargo deny` for dependencies.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Workspace;
use crate::progress::output;
use crate::tested::Outcome;
use crate::tools::{self, Python};

/// Newest version of reuse that was tested, and a detector of encodings, so that it needs no library of the host's.
const REUSE: [&str; 2] = ["reuse==6.2.0", "charset-normalizer==3.4.4"];
/// Newest version of cargo-deny that was tested.
const DENY: &str = "0.20.2";
/// Maximum wait for the advisories, in seconds.
const FETCH: &str = "60";

/// Checks that every file has a licence and a copyright, in the file or in REUSE.toml.
pub(crate) fn reuse(workspace: &Workspace) -> Result<Outcome> {
    let mut reuse = match Python::prepare(workspace, "reuse", &REUSE) {
        Ok(python) => {
            let mut reuse = python.command();
            reuse.args(["-m", "reuse"]).env("REUSE_ENCODING_MODULE", "charset_normalizer");
            reuse
        }
        // The host may have one.
        Err(_) if output(Command::new("reuse").arg("--version")).is_ok() => Command::new("reuse"),
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    judge(reuse.args(["lint", "--lines"]).current_dir(&workspace.root))
}

/// Checks the licences, sources and versions of the crates against deny.toml.
pub(crate) fn deny(workspace: &Workspace) -> Result<Outcome> {
    let deny = match cargo_deny(workspace) {
        Ok(deny) => deny,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    // It reads the crates of all targets; a build for one target uses only some of them.
    output(workspace.cargo().args(["fetch", "--locked"]))?;
    let checks = ["--offline", "check", "bans", "licenses", "sources"];
    judge(Command::new(deny).args(checks).current_dir(&workspace.root))
}

/// Checks that no crate has a known vulnerability, if the advisories can be fetched.
pub(crate) fn advisories(workspace: &Workspace) -> Result<Outcome> {
    let deny = match cargo_deny(workspace) {
        Ok(deny) => deny,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    let mut fetch = Command::new("timeout");
    fetch.arg(FETCH).arg(&deny).args(["fetch", "db"]).current_dir(&workspace.root);
    if output(&mut fetch).is_err() {
        let why = "the advisories of RustSec cannot be fetched here: `cargo deny check advisories` where they can";
        return Ok(Outcome::Skipped(why.to_owned()));
    }
    let checks = ["--offline", "check", "advisories"];
    judge(Command::new(deny).args(checks).current_dir(&workspace.root))
}

fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    tools::cargo(workspace, "cargo-deny", DENY)
}

/// Runs a tool; an error has its output.
fn judge(command: &mut Command) -> Result<Outcome> {
    let output = command.output().with_context(|| format!("failed to run {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned());
        bail!("{}", said.concat().trim());
    }
    Ok(Outcome::Good)
}
