// SPDX-License-Identifier: MIT OR Apache-2.0
//! The AppArmor profiles, compiled for the test kernel as an image has them that nothing compiles any more: systemd
//! loads them before it starts anything, in the initrd and in the root that follows.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache::{self, Workspace};
use crate::progress::output;

/// The Debian package that compiles them.
pub(crate) const PACKAGE: &str = "apparmor";

/// Where systemd looks for policy, in a directory for each set of features that kernels have.
pub(crate) const EARLY: &str = "etc/apparmor/earlypolicy";

/// The profiles, each in a file of its name.
const PROFILES: [&str; 2] = ["usr.bin.protheap-bind", "usr.bin.protheapd"];

/// Compiles the profiles; returns the directory that belongs at [`EARLY`].
pub(crate) fn compile(workspace: &Workspace) -> Result<PathBuf> {
    let sources = workspace.root.join("packaging/apparmor");
    let dir = workspace.checkout.join("apparmor");
    cache::remove_dir(&dir)?;
    cache::create_dir(&dir)?;
    let mut parser = Command::new("/sbin/apparmor_parser");
    // Rules for Unix sockets are for kernels of Ubuntu; Linux itself cannot enforce them.
    parser.args(["--warn=all", "--warn=no-rule-downgraded", "--Werror"]);
    parser
        .args(["--skip-kernel-load", "--skip-read-cache", "--write-cache", "--cache-loc"])
        .arg(&dir);
    // What the test kernel shows in /sys/kernel/security/apparmor/features.
    parser.arg("--features-file").arg(workspace.root.join("tests/vm/guest/apparmor.features"));
    parser.arg("--Include").arg(&sources);
    output(parser.args(PROFILES.map(|profile| sources.join(profile))))?;
    Ok(dir)
}
