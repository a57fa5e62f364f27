// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines of tests/boards, and a function to run `protheapctl` on them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Returns the root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A temporary directory of one test, removed on drop.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("protheapctl-{name}-{process}-{number}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Copies the machine `name` of tests/boards. A machine without policies gets those of the
    /// repository.
    pub(crate) fn machine(name: &str) -> Self {
        let machine = Self::new(name);
        copy(&repository().join("tests/boards").join(name).join("tree"), &machine.0);
        let policies = machine.0.join("usr/lib/protheap/policies");
        if !policies.exists() {
            copy(&repository().join("policies"), &policies);
        }
        machine
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies a tree with its links. Only the owner can write to the copy, whatever the umask is.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), to).unwrap();
        } else {
            fs::copy(entry.path(), &to).unwrap();
            fs::set_permissions(to, Permissions::from_mode(0o644)).unwrap();
        }
    }
}

/// Returns the names of all machines.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(repository().join("tests/boards"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs `protheapctl` until it exits.
pub(crate) fn protheapctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_protheapctl")).args(arguments).output().unwrap()
}

/// Returns output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
