// SPDX-License-Identifier: MIT OR Apache-2.0
//! Required contents of a package: the files that packaging/install installs, for every distribution.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::rpm::RELEASE;
use crate::cache::{self, Workspace};
use crate::progress::output;

/// Files that packages add themselves, or by the custom of their distribution.
const ADDED: [&str; 3] =
    ["/usr/lib/.build-id/", "/usr/share/licenses/", "/usr/share/libalpm/hooks/"];

/// Checks the names and files of packages, which have these parts of packaging/install. `target` has the output of
/// packaging/build.
pub(super) fn check(
    workspace: &Workspace,
    target: &Path,
    parts: &[(&str, &[&str])],
    packages: &BTreeMap<String, Paths>,
) -> Result<()> {
    let wanted: BTreeMap<_, _> = parts.iter().copied().collect();
    if !packages.keys().eq(wanted.keys()) {
        let names: Vec<_> = packages.keys().map(String::as_str).collect();
        bail!("the packages are {}: xtask/src/dist has the parts of each", names.join(", "));
    }
    for ((name, has), parts) in packages.iter().zip(wanted.values()) {
        compare(name, has, &files(workspace, target, parts)?)?;
    }
    Ok(())
}

/// Returns the files of some parts.
fn files(workspace: &Workspace, target: &Path, parts: &[&str]) -> Result<Paths> {
    let root = workspace.checkout.join("layout");
    cache::remove_dir(&root)?;
    for part in parts {
        let mut install = Command::new(workspace.root.join("packaging/install"));
        install.arg(part).arg(&root);
        install.env("TARGET_DIR", target.join(RELEASE)).env("SHARE", target.join("share"));
        output(&mut install)?;
    }
    let below = |path: &std::path::PathBuf| {
        let path = path.strip_prefix(&root).context("file is outside of the tree")?;
        Ok(format!("/{}", path.display()))
    };
    cache::files(&root)?.iter().map(below).collect()
}

/// Paths of files in a system.
pub(super) type Paths = BTreeSet<String>;

/// Returns an error for files that a package lacks, or must not have.
fn compare(package: &str, has: &Paths, wanted: &Paths) -> Result<()> {
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
