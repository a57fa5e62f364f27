// SPDX-License-Identifier: MIT OR Apache-2.0
//! Archives of a root: directories, files, links and devices, written in the newc format of cpio.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;

use crate::cache::{self, Digest, bytes};

/// Contents of a root. Everything is owned by root and has no time.
#[derive(Debug, Default, Clone)]
pub(crate) struct Archive {
    entries: Vec<Entry>,
    directories: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: String,
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

/// File types in a mode (`inode(7)`).
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const FILE: u32 = 0o100_000;

impl Archive {
    /// Adds a directory and its parents, once.
    pub(crate) fn directory(&mut self, path: &str) {
        if path.is_empty() || self.directories.contains(path) {
            return;
        }
        self.parent(path);
        self.directories.insert(path.to_owned());
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a file and its directories.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parent(path);
        self.entry(path, FILE | mode, (0, 0), content);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parent(path);
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a character device.
    pub(crate) fn node(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.entry(path, 0o020_600, (major, minor), &[]);
    }

    /// Adds a directory of the host with its links and modes, except the paths that `wanted` refuses.
    pub(crate) fn copy(
        &mut self,
        from: &Path,
        to: &str,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(from)? {
            found.push(entry?.path());
        }
        found.sort();
        for path in found {
            let name = path.file_name().unwrap_or_default();
            let name = Path::new(to).join(name).to_string_lossy().into_owned();
            if !wanted(&name) {
                continue;
            }
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                self.directory(&name);
                self.copy(&path, &name, wanted)?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path)?;
                self.link(&name, &target.to_string_lossy());
            } else {
                self.file(&name, metadata.permissions().mode() & 0o777, &bytes(&path)?);
            }
        }
        Ok(())
    }

    /// Adds all files below a directory of the host.
    pub(crate) fn tree(&mut self, from: &Path, to: &str) -> Result<()> {
        for path in cache::files(from)? {
            let name = Path::new(to).join(path.strip_prefix(from)?);
            self.file(&name.to_string_lossy(), 0o644, &bytes(&path)?);
        }
        Ok(())
    }

    /// Adds everything of another archive, whose files replace existing ones.
    pub(crate) fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.directories.extend(other.directories);
    }

    /// Splits the archive into what is below `dir`, with the parents of `dir`, and the rest.
    pub(crate) fn split(self, dir: &str) -> (Self, Self) {
        let mut inside = Self::default();
        inside.directory(dir);
        let (below, rest) = self
            .entries
            .into_iter()
            .partition(|entry| is_below(&entry.path, dir) && entry.path != dir);
        inside.entries.extend::<Vec<_>>(below);
        (inside, Self { entries: rest, directories: self.directories })
    }

    /// Removes these paths and everything below them.
    pub(crate) fn without(self, paths: &[&str]) -> Self {
        self.only(&|path| !paths.iter().any(|unwanted| is_below(path, unwanted)))
    }

    /// Keeps only the paths that are wanted.
    pub(crate) fn only(mut self, wanted: &dyn Fn(&str) -> bool) -> Self {
        self.entries.retain(|entry| wanted(&entry.path));
        self.directories.retain(|path| wanted(path));
        self
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries.push(Entry {
            path: path.to_owned(),
            mode,
            device,
            content: content.to_owned(),
        });
    }

    /// Returns a cpio archive in the newc format, which `Documentation/driver-api/early-userspace/buffer-format.rst` of
    /// the kernel describes. The kernel unpacks concatenated archives.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        let mut bytes = Vec::new();
        for (number, entry) in (1..).zip(&self.entries) {
            entry.write(number, &mut bytes);
        }
        bytes
    }

    /// Adds everything to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        self.digest_of(digest, &|_| true);
    }

    /// Adds the wanted paths to a digest.
    pub(crate) fn digest_of(&self, digest: &mut Digest, wanted: &dyn Fn(&str) -> bool) {
        for entry in self.entries.iter().filter(|entry| wanted(&entry.path)) {
            digest.add(entry.path.as_bytes());
            digest.add(&entry.mode.to_le_bytes());
            digest.add(&entry.content);
        }
    }

    /// Unpacks everything below `dir` of the host, except devices, which only root can make.
    pub(crate) fn unpack(&self, dir: &Path) -> Result<()> {
        for entry in &self.entries {
            let path = dir.join(&entry.path);
            match entry.mode & KIND {
                DIRECTORY => fs::create_dir_all(&path),
                LINK => symlink(OsStr::from_bytes(&entry.content), &path),
                FILE => fs::write(&path, &entry.content).and_then(|()| {
                    fs::set_permissions(&path, Permissions::from_mode(entry.mode & 0o777))
                }),
                _ => Ok(()),
            }
            .with_context(|| format!("failed to make {}", path.display()))?;
        }
        Ok(())
    }
}

/// Returns whether a path is `dir` or below it.
fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Entry {
    fn write(&self, number: u32, bytes: &mut Vec<u8>) {
        let Self { path, mode, device: (major, minor), content } = self;
        let links = if mode & KIND == DIRECTORY { 2 } else { 1 };
        let (size, name) = (content.len(), path.len() + 1);
        // Magic, inode, mode, uid, gid, links, mtime, size, device (2), rdev (2), name size, check.
        let header = format!(
            "070701{number:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{size:08x}{:08x}{:08x}{major:08x}{minor:08x}{name:08x}{:08x}",
            0, 0, 0, 0, 0, 0
        );
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(path.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_the_newc_format() {
        let mut archive = Archive::default();
        archive.node("dev/console", 5, 1);
        archive.file("a/b/c", 0o644, b"hello");
        archive.file("a/b/d", 0o755, b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);

        let field = |at: usize, n: usize| {
            let hex = std::str::from_utf8(&bytes[at + 6 + 8 * n..at + 14 + 8 * n]).unwrap();
            usize::from_str_radix(hex, 16).unwrap()
        };
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (size, name) = (field(at, 6), field(at, 11));
            let path = String::from_utf8(bytes[at + 110..at + 110 + name - 1].to_vec()).unwrap();
            let data = (at + 110 + name).next_multiple_of(4);
            found.push((path, field(at, 1), field(at, 9), bytes[data..data + size].to_vec()));
            at = (data + size).next_multiple_of(4);
        }
        let names: Vec<_> = found.iter().map(|entry| entry.0.as_str()).collect();
        assert_eq!(names, ["dev", "dev/console", "a", "a/b", "a/b/c", "a/b/d", "TRAILER!!!"]);
        assert_eq!((found[1].1, found[1].2), (0o020_600, 5));
        assert_eq!((found[4].1, found[4].3.as_slice()), (0o100_644, b"hello".as_slice()));
        assert_eq!(found[0].1, 0o040_755);
    }
}
