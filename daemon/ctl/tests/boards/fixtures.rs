// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that no machine in tests/boards has what its kernel cannot have.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::repository;

/// First release for which protheap.ko exists.
const MODULE: (u32, u32) = (7, 3);
/// First release whose TEEs have the attribute `revision`.
const REVISION: (u32, u32) = (6, 19);

/// Returns the version of the kernel whose modules a tree has.
fn version(tree: &Path) -> Option<(u32, u32)> {
    let modules = ["lib/modules", "usr/lib/modules"];
    let directory = modules.iter().find_map(|path| fs::read_dir(tree.join(path)).ok())?;
    let name = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap()).next()?;
    let mut numbers = name.split(['.', '-', '+']).map_while(|number| number.parse().ok());
    Some((numbers.next().unwrap(), numbers.next().unwrap()))
}

/// Returns what a tree has although its kernel cannot have it.
fn impossible(tree: &Path) -> Vec<PathBuf> {
    let Some(version) = version(tree) else { return Vec::new() };
    let mut found = Vec::new();
    let module = tree.join("sys/kernel/config/protheap");
    if version < MODULE && module.exists() {
        found.push(module);
    }
    if version < REVISION
        && let Ok(tees) = fs::read_dir(tree.join("sys/class/tee"))
    {
        let revisions = tees.map(|tee| tee.unwrap().path().join("revision"));
        found.extend(revisions.filter(|revision| revision.exists()));
    }
    found
}

#[test]
fn no_machine_has_what_its_kernel_cannot_have() {
    let (mut old, mut found) = (0, Vec::new());
    for name in crate::machine::names() {
        let tree = repository().join("tests/boards").join(name).join("tree");
        old += usize::from(version(&tree).is_some_and(|version| version < MODULE));
        found.extend(impossible(&tree));
    }
    assert!(old >= 6, "{old} machines with an older kernel");
    assert_eq!(found, [""; 0].map(PathBuf::from));
}

#[test]
fn impossible_parts_are_found() {
    let tree = crate::machine::Directory::new("fixtures");
    let add = |path: &str| {
        let path = tree.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "1\n").unwrap();
    };
    add("sys/kernel/config/protheap/abi");
    add("sys/class/tee/tee0/revision");
    assert_eq!(impossible(&tree.0).len(), 0);
    for (release, count) in
        [("7.3-rc2", 0), ("7.10.1+deb13", 0), ("7.2.12", 1), ("6.19.0", 1), ("6.18.20-lts", 2)]
    {
        add(&format!("lib/modules/{release}/modules.alias"));
        assert_eq!(impossible(&tree.0).len(), count, "{release}");
        fs::remove_dir_all(tree.0.join("lib/modules")).unwrap();
    }
}
