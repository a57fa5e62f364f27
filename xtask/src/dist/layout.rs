// SPDX-License-Identifier: MIT OR Apache-2.0
//! Required contents of a package: the files that packaging/install installs, for every distribution.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Workspace};
use crate::progress::output;

/// Files that packages add themselves, or by the custom of their distribution.
const ADDED: [&str; 3] =
    ["/usr/lib/.build-id/", "/usr/share/licenses/", "/usr/share/libalpm/hooks/"];

/// Returns the files of some parts, made from programs and manuals in `target`.
pub(crate) fn files(workspace: &Workspace, target: &Target, parts: &[&str]) -> Result<Paths> {
    let root = workspace.checkout.join("layout");
    cache::remove_dir(&root)?;
    for part in parts {
        let mut install = Command::new(workspace.root.join("packaging/install"));
        install.arg(part).arg(&root);
        install.env("TARGET_DIR", target.programs).env("SHARE", target.share);
        output(&mut install)?;
    }
    let below = |path: &std::path::PathBuf| {
        let path = path.strip_prefix(&root).context("file is outside of the tree")?;
        Ok(format!("/{}", path.display()))
    };
    cache::files(&root)?.iter().map(below).collect()
}

/// Paths of files in a system.
pub(crate) type Paths = BTreeSet<String>;

/// Output of packaging/build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// Directory of the programs.
    pub(crate) programs: &'a Path,
    /// Directory of manuals, completions and the crate.
    pub(crate) share: &'a Path,
}

/// Returns an error for files that a package lacks, or must not have.
pub(crate) fn compare(package: &str, has: &Paths, wanted: &Paths) -> Result<()> {
    let has: Paths = has
        .iter()
        .filter(|path| !ADDED.iter().any(|prefix| path.starts_with(prefix)))
        // Manuals are compressed.
        .map(|path| match path.strip_suffix(".gz") {
            Some(page) if page.starts_with("/usr/share/man/") => page.to_owned(),
            _ => path.clone(),
        })
        .collect();
    let list = |paths: Vec<&String>| paths.iter().map(|p| format!("\n  {p}")).collect::<String>();
    let (more, lacks) = (has.difference(wanted).collect(), wanted.difference(&has).collect());
    if has != *wanted {
        bail!(
            "{package} is not what packaging/install lays out; more:{}\nlacking:{}",
            list(more),
            list(lacks)
        );
    }
    Ok(())
}
