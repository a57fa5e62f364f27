// SPDX-License-Identifier: MIT OR Apache-2.0
//! `protheapctl explain` of every machine in tests/boards.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Set to write what is found as what is expected.
const RENEW: &str = "PROTHEAP_RENEW";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A directory of a test's own, removed when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("protheapctl-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The machine `name` of tests/boards; the repository's policies are its own where it has none.
    fn machine(name: &str) -> Self {
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

/// Copies a tree, links as links; only its owner can write to the copy, whatever the umask is.
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

fn explain(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_protheapctl")).arg("explain").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What is said of a machine as JSON, without the directory that it is in.
fn json(machine: &Directory) -> String {
    let root = machine.0.to_str().unwrap();
    let output = explain(&["--root", root, "--json"]);
    assert!(output.status.success(), "{root}: {}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::to_string_pretty(&json).unwrap().replace(root, "") + "\n"
}

#[test]
fn every_machine_is_explained_as_before() {
    let mut names: Vec<_> = fs::read_dir(repository().join("tests/boards"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    let mut differ = Vec::new();
    for name in &names {
        let found = json(&Directory::machine(name));
        let path = repository().join("tests/boards").join(name).join("explain.json");
        if std::env::var_os(RENEW).is_some() {
            fs::write(path, found).unwrap();
        } else if fs::read_to_string(path).unwrap_or_default() != found {
            differ.push(format!("{name}: {found}"));
        }
    }
    assert!(
        differ.is_empty(),
        "not as explain.json says; `{RENEW}=1 cargo test -p protheapctl` writes them anew, for \
         `git diff` to show: {differ:#?}"
    );
}
