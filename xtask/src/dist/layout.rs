// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a package has to have: the files that packaging/install lays out, whatever the distribution.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Workspace};
use crate::progress::output;

/// What packages add by themselves, or by their distribution's custom.
const ADDED: [&str; 3] =
    ["/usr/lib/.build-id/", "/usr/share/licenses/", "/usr/share/libalpm/hooks/"];

/// The files of some parts, made of programs and manuals in `target`.
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
        let path = path.strip_prefix(&root).context("a file that is elsewhere")?;
        Ok(format!("/{}", path.display()))
    };
    cache::files(&root)?.iter().map(below).collect()
}

/// Paths of files in a system.
pub(crate) type Paths = BTreeSet<String>;

/// What packaging/build made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// Where programs are.
    pub(crate) programs: &'a Path,
    /// Where manuals, completions and the crate are.
    pub(crate) share: &'a Path,
}

/// Says what a package has too much, or not.
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
