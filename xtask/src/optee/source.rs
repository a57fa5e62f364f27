// SPDX-License-Identifier: MIT OR Apache-2.0
//! Source packages of firmware, and the commands that build them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::Client;
use crate::cache::{self, Workspace};
use crate::progress::{self, output};
use crate::{pool, toolchain};

/// Suites whose source packages are tried, the newest first: not every suite has the files in its list.
const SUITES: [&str; 3] = ["sid", "forky", "trixie"];

/// Returns the cache of firmware and its sources.
pub(super) fn place(workspace: &Workspace) -> PathBuf {
    workspace.cache.join("optee")
}

/// A source package, unpacked.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) tree: PathBuf,
    pub(super) version: String,
}

impl Source {
    /// Fetches the newest version available, unless one is in the cache.
    pub(super) fn fetch(workspace: &Workspace, package: &str) -> Result<Self> {
        let dir = place(workspace).join(format!("source-{package}"));
        cache::once(&dir, |part| {
            let mut errors = Vec::new();
            for suite in SUITES {
                let client = Client::open_sources(workspace, suite)?;
                match client.source(workspace, package, &part.join("tree")) {
                    Ok(version) => return cache::write(&part.join("version"), version),
                    Err(error) => errors.push(format!("{error:#}")),
                }
                progress::remark(format_args!("{suite} has no source of {package}"));
                cache::remove_dir(&part.join("tree"))?;
            }
            bail!("no suite has the source of {package}:\n{}", errors.join("\n"));
        })?;
        Ok(Self { tree: dir.join("tree"), version: cache::read(&dir.join("version"))? })
    }
}

/// Returns the first line of the cross compiler's version.
pub(super) fn compiler() -> Result<String> {
    let mut gcc = Command::new(format!("{}gcc", toolchain::CROSS));
    let said = output(gcc.arg("--version")).context("failed to find the cross compiler")?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// Returns `make` in a tree, without variables of this process that would affect it.
pub(super) fn make(tree: &Path) -> Command {
    let mut make = Command::new("nice");
    make.args(["-n", "10", "make", "-C"]).arg(tree);
    make.arg(format!("-j{}", pool::processors()));
    for variable in ["MAKEFLAGS", "CFLAGS", "CPPFLAGS", "LDFLAGS", "RUSTFLAGS"] {
        make.env_remove(variable);
    }
    make.env("LC_ALL", "C.UTF-8");
    make
}
