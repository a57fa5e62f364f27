// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of Protheap's files in initrds of distributions, which `tests/initrds` keeps.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cache::{self, Workspace};
use crate::image;
use crate::kernel::Flavor;

/// The first line of each list.
const LICENCE: &str = "# SPDX-License-Identifier: MIT OR Apache-2.0\n";

/// Returns the list of each initrd: the name of a file, and its lines.
fn lists(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    let script = image::prepare(workspace, Flavor::Plain)?;
    let generated = image::prepare_generated(workspace, Flavor::Plain, &script)?;
    let mut lists = Vec::new();
    for path in generated.lists()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let all = cache::read(&path)?.replace(&generated.release, "RELEASE");
        let mut lines: Vec<_> = all.lines().map(str::trim).filter(|line| matters(line)).collect();
        lines.sort_unstable();
        lists.push((format!("{name}.list"), format!("{LICENCE}{}\n", lines.join("\n"))));
    }
    Ok(lists)
}

/// Returns whether a line is of Protheap, a module, or a firmware; one policy stands for all of them.
fn matters(line: &str) -> bool {
    let ours = line.contains("protheap") || line.ends_with(".ko") || line.contains("mali_csffw");
    ours && (!line.ends_with(".toml") || line.ends_with("/default.toml"))
}

/// Writes the lists to a directory; returns their paths.
pub(crate) fn write(workspace: &Workspace, directory: &Path) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for (name, found) in lists(workspace)? {
        let path = directory.join(name);
        cache::write(&path, found)?;
        made.push(path);
    }
    Ok(made)
}

/// Compares the lists with those of `tests/initrds`: every difference has to be committed.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let expected = workspace.root.join("tests/initrds");
    let mut wrong = Vec::new();
    for (name, found) in lists(workspace)? {
        let path = expected.join(name);
        let wanted = cache::read(&path)?;
        if found != wanted {
            let more = only(&found, &wanted, '+');
            wrong.push(format!("{}:{more}{}", path.display(), only(&wanted, &found, '-')));
        }
    }
    if !wrong.is_empty() {
        let renew = "if this is intended, run `cargo xtask dist initrds tests/initrds`";
        bail!("{}\n{renew}", wrong.join("\n"));
    }
    Ok(())
}

/// Returns the lines that another text does not have.
fn only(text: &str, other: &str, sign: char) -> String {
    let lines = text.lines().filter(|line| other.lines().all(|there| there != *line));
    lines.map(|line| format!("\n  {sign}{line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_compare_lines_of_protheap_modules_and_firmware() {
        for line in ["usr/bin/protheap-bind", "usr/lib/modules/RELEASE/kernel/panthor.ko"] {
            assert!(matters(line), "{line}");
        }
        for line in ["usr/bin/sh", "usr/lib/protheap/policies/acme,a9.toml"] {
            assert!(!matters(line), "{line}");
        }
        assert_eq!(only("a\nb\n", "b\nc\n", '+'), "\n  +a");
    }
}
