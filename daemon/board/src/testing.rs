// SPDX-License-Identifier: MIT OR Apache-2.0

//! Mock-up of a machine's file tree, for tests of this crate and of its dependents.

#![allow(clippy::unwrap_used, clippy::new_without_default, missing_docs)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::root::Root;

/// Creates a directory that only its owner can write to, whatever the umask is: otherwise the
/// policies in it would be ignored.
fn make_directory(path: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).unwrap();
}

/// A directory for one test, removed on drop.
#[derive(Debug)]
pub struct Tree(pub PathBuf);

impl Tree {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("protheap-board-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn root(&self) -> Root {
        Root::open(&self.0).unwrap()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        let path = self.0.join(path);
        make_directory(path.parent().unwrap());
        path
    }

    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        options.open(self.path(path)).unwrap().write_all(content.as_ref()).unwrap();
    }

    pub fn link(&self, target: &str, path: &str) {
        symlink(target, self.path(path)).unwrap();
    }

    pub fn directory(&self, path: &str) {
        make_directory(&self.0.join(path));
    }

    pub fn fifo(&self, path: &str) {
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, self.path(path), mode).unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
