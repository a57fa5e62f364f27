// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask manuals DIR`: writes the manual pages and completions that packages install.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use crate::cache::Workspace;

/// Manual pages that are written by hand, and their directories.
const WRITTEN: [(&str, &str); 2] = [
    ("docs/protheap-policy.5", "man/man5/protheap-policy.5"),
    ("docs/protheapd.8", "man/man8/protheapd.8"),
];

/// Arguments of the `manuals` command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Output directory, laid out as /usr/share
    directory: PathBuf,
}

/// Writes the manual pages and completions.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let directory = std::path::absolute(&args.directory).context("failed to find the directory")?;
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--locked", "--package", "protheapctl", "--example", "manuals"]);
    let status = cargo.arg("--").arg(&directory).status().context("failed to run cargo")?;
    if !status.success() {
        bail!("the manuals of protheapctl were not written: see above");
    }
    for (from, to) in WRITTEN {
        copy(&workspace.root.join(from), &directory.join(to))?;
    }
    Ok(true)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().unwrap_or(to);
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::copy(from, to))
        .with_context(|| format!("failed to write {}", to.display()))?;
    println!("wrote {}", to.display());
    Ok(())
}
