// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tools of others say of this checkout: `reuse` of licences and copyright, `cargo deny` of the crates it takes.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Workspace;
use crate::progress::output;
use crate::tested::Outcome;
use crate::tools::{self, Python};

/// The newest reuse that was tried, and what it reads encodings with, so that it needs no library of the host's.
const REUSE: [&str; 2] = ["reuse==6.2.0", "charset-normalizer==3.4.4"];
/// The newest cargo-deny that was tried.
const DENY: &str = "0.20.2";
/// Longest wait for the advisories, in seconds.
const FETCH: &str = "60";

/// Every file says whose it is and under which licence, or REUSE.toml does.
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

/// The crates' licences and sources are those that deny.toml allows, and their versions are asked for.
pub(crate) fn deny(workspace: &Workspace) -> Result<Outcome> {
    let deny = match cargo_deny(workspace) {
        Ok(deny) => deny,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    // It reads the crates of all targets, of which a build for one takes only some.
    output(workspace.cargo().args(["fetch", "--locked"]))?;
    let checks = ["--offline", "check", "bans", "licenses", "sources"];
    judge(Command::new(deny).args(checks).current_dir(&workspace.root))
}

/// No crate has a known fault, as far as the advisories can be had.
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

/// Runs a tool to its end; an error holds all that it found.
fn judge(command: &mut Command) -> Result<Outcome> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned());
        bail!("{}", said.concat().trim());
    }
    Ok(Outcome::Good)
}
