// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inputs of steps.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{Digest, Workspace};
use crate::machine;
use crate::progress::output;

/// Inputs of a step, beside the tools of the host, which are inputs of every step.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inputs {
    /// They are not all known: the step always runs.
    Unknown,
    /// Files of the checkout below these paths; the empty path is the whole checkout.
    Below(&'static [&'static str]),
    /// Files below these paths, and a downloaded directory of the cache.
    Downloaded(&'static [&'static str], &'static str),
}

/// Digests of the tools of the host, and of the files of the checkout.
#[derive(Debug)]
pub(super) struct Tree {
    tools: Digest,
    files: BTreeMap<PathBuf, Digest>,
}

impl Tree {
    /// Reads all files that git tracks, or would track if they were added.
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        let listed = workspace
            .git(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .context("failed to list the files that tests depend on")?;
        let mut files = BTreeMap::new();
        for path in listed.split_terminator('\0').map(PathBuf::from) {
            let full = workspace.root.join(&path);
            // It may be deleted, and the deletion not yet committed.
            let Ok(metadata) = full.symlink_metadata() else { continue };
            let content = if metadata.is_symlink() {
                fs::read_link(&full).map(|target| target.into_os_string().into_encoded_bytes())
            } else {
                fs::read(&full)
            };
            let content = content.with_context(|| format!("failed to read {}", full.display()))?;
            let mut digest = Digest::new();
            digest.add(&metadata.mode().to_le_bytes());
            digest.add(&content);
            files.insert(path, digest);
        }
        let mut tools = Digest::new();
        for version in ["-vV"].map(|option| output(workspace.cargo().arg(option))) {
            tools.add(version?.as_bytes());
        }
        tools
            .add(output(Command::new("rustc").arg("-vV").current_dir(&workspace.root))?.as_bytes());
        tools.add(machine::version().unwrap_or_default().as_bytes());
        // Every tool of the host is in a package. Steps that need tools do not run without dpkg.
        tools.add(output(Command::new("dpkg-query").arg("-W")).unwrap_or_default().as_bytes());
        Ok(Self { tools, files })
    }

    /// Returns a digest of the inputs, or `None` if they are not known.
    pub(super) fn digest(&self, workspace: &Workspace, inputs: &Inputs) -> Result<Option<String>> {
        let (below, downloaded) = match inputs {
            Inputs::Unknown => return Ok(None),
            Inputs::Below(below) => (below, None),
            Inputs::Downloaded(below, dir) => (below, Some(dir)),
        };
        let mut digest = self.tools;
        for (path, content) in &self.files {
            if below.iter().any(|dir| path.starts_with(dir)) {
                digest.add(path.as_os_str().as_encoded_bytes());
                digest.add(content.hex().as_bytes());
            }
        }
        if let Some(dir) = downloaded {
            // It is filled once, and replaced as a whole.
            let mut entries: Vec<_> = fs::read_dir(workspace.cache.join(dir))
                .map(|entries| entries.flatten().collect())
                .unwrap_or_default();
            entries.sort_by_key(fs::DirEntry::path);
            for entry in entries {
                digest.add(entry.file_name().as_encoded_bytes());
                digest.add(&entry.metadata()?.mtime().to_le_bytes());
            }
        }
        Ok(Some(digest.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inputs_of_a_step_change_its_digest() {
        let workspace = Workspace::open().unwrap();
        let file = |text: &str| {
            let mut digest = Digest::new();
            digest.add(text.as_bytes());
            digest
        };
        let tree = |docs: &str, core: &str| Tree {
            tools: Digest::new(),
            files: [("docs/a.md", docs), ("daemon/core/b.rs", core)]
                .map(|(path, text)| (PathBuf::from(path), file(text)))
                .into(),
        };
        let of = |tree: &Tree, below| tree.digest(&workspace, &Inputs::Below(below)).unwrap();
        let (before, after) = (tree("1", "1"), tree("2", "1"));
        assert_eq!(of(&before, &["daemon"]), of(&after, &["daemon"]));
        assert_ne!(of(&before, &["docs"]), of(&after, &["docs"]));
        assert_ne!(of(&before, &[""]), of(&after, &[""]));
        assert_eq!(before.digest(&workspace, &Inputs::Unknown).unwrap(), None);
    }
}
