// SPDX-License-Identifier: MIT OR Apache-2.0
//! A build of the released source without a network. It builds all programs, so that no crate is missing.

use std::process::Command;

use anyhow::Result;

use super::source;
use crate::cache::{self, Workspace};
use crate::progress::{Step, output};
use crate::tested::Outcome;

/// Builds the unpacked source and its crates in a network namespace of their own, without cargo's downloads.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    // In a user namespace, this needs no privilege.
    let unshare = ["--user", "--map-current-user", "--net"];
    if let Err(error) = output(Command::new("unshare").args(unshare).arg("true")) {
        return Ok(Outcome::Skipped(format!("this host has no network namespaces: {error:#}")));
    }
    let _lock = workspace.lock()?;
    let tree = source::unpacked(workspace)?;
    source::check_vendored(&tree)?;
    let home = workspace.checkout.join("offline/cargo");
    cache::remove_dir(&home)?;
    cache::create_dir(&home)?;
    let cargo = workspace.cargo();
    let mut check = Command::new("unshare");
    check.args(unshare).arg(cargo.get_program());
    check.args(["check", "--workspace", "--release", "--frozen"]).current_dir(&tree);
    check
        .env("CARGO_HOME", &home)
        .env("CARGO_TARGET_DIR", workspace.checkout.join("offline/target"));
    Step::new("building without the network", 60).run(check, &workspace.log("offline"))?;
    Ok(Outcome::Good)
}
