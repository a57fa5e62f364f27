// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads the state of kernel modules that register a heap and are no driver of a device.

use std::collections::{BTreeMap, BTreeSet};

use protheap_core::facts::HeapModule;

use crate::root::Root;
use crate::{Problem, aliases};

const MODULES: &str = "sys/module";
/// Endings of module files that `modprobe` can load.
const ENDINGS: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// Returns the states of the modules `names`, in which `_` stands for each `-`. They are installed
/// if the `modules.dep` of the kernel `release` in this root lists them, and built in if its
/// `modules.builtin` does.
pub fn read(
    root: &Root,
    release: &str,
    names: &[&str],
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, HeapModule> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    let installed = listed(root, release, "modules.dep", names, problems);
    let built_in = listed(root, release, "modules.builtin", names, problems);
    let state = |name: &&str| {
        let unloaded = if built_in.contains(*name) {
            HeapModule::BuiltIn
        } else if installed.contains(*name) {
            HeapModule::Installed
        } else {
            HeapModule::Missing
        };
        ((*name).to_owned(), shown(root, name, unloaded, problems))
    };
    names.iter().map(state).collect()
}

/// Re-reads the state of a module.
pub fn update(root: &Root, name: &str, known: HeapModule) -> HeapModule {
    let unloaded = match known {
        HeapModule::Missing | HeapModule::BuiltIn => known,
        _ => HeapModule::Installed,
    };
    shown(root, name, unloaded, &mut Vec::new()).after(known)
}

/// Returns the state that sysfs shows, or `unloaded` if it shows none.
fn shown(root: &Root, name: &str, unloaded: HeapModule, problems: &mut Vec<Problem>) -> HeapModule {
    let directory = format!("{MODULES}/{name}");
    match root.text(&format!("{directory}/initstate"), problems).as_deref() {
        Some("live") => HeapModule::Live,
        Some("going") => HeapModule::Gone,
        Some(_) => HeapModule::Coming,
        None if !root.is_directory(&directory) => unloaded,
        // Built-in modules have no `initstate`. The kernel creates that of a loadable module after
        // its directory (`mod_sysfs_setup()`, kernel/module/sysfs.c).
        None if unloaded == HeapModule::Installed => HeapModule::Coming,
        None => HeapModule::BuiltIn,
    }
}

/// Returns those of `names` that a file about the modules of `release` lists, as `PATH` or as
/// `PATH: DEPENDENCY...`, one per line.
fn listed(
    root: &Root,
    release: &str,
    file: &str,
    names: &[&str],
    problems: &mut Vec<Problem>,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    aliases::each_piece(root, release, file, b'\n', problems, &mut |line| {
        let path = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if let Some(name) = std::str::from_utf8(path).ok().and_then(module_of)
            && names.contains(&name.as_str())
        {
            found.insert(name);
        }
        true
    });
    found
}

/// Returns the name of the module in the file at `path`.
fn module_of(path: &str) -> Option<String> {
    let file = path.trim_end().rsplit('/').next()?;
    let name = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending))?;
    Some(name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use HeapModule::{BuiltIn, Coming, Gone, Installed, Live, Missing};

    fn state(tree: &Tree, name: &str) -> HeapModule {
        let mut problems = Vec::new();
        let states = read(&tree.root(), "7.3.4", &[name], &mut problems);
        assert_eq!(problems, []);
        states[name]
    }

    #[test]
    fn module_is_installed_if_modules_dep_lists_its_file() {
        let tree = Tree::new();
        assert_eq!(state(&tree, "acme_svp"), Missing);
        let dep = "kernel/a/acme-svp.ko: kernel/b/one.ko\nupdates/two.ko.xz:\nx/three.ko.zst:\n\
                   x/four.ko.gz: x/five.ko\nx/six.ko.bz2:\nx/seven.kost:\n";
        tree.file("lib/modules/7.3.4/modules.dep", dep);
        for name in ["acme_svp", "two", "three", "four"] {
            assert_eq!(state(&tree, name), Installed, "{name}");
        }
        // A module that only a dependency names has a line of its own if it is installed.
        for name in ["acme", "svp", "one", "five", "six", "seven", "acme_svp2"] {
            assert_eq!(state(&tree, name), Missing, "{name}");
        }
        assert_eq!(read(&tree.root(), "7.3.5", &["two"], &mut Vec::new())["two"], Missing);
    }

    #[test]
    fn built_in_module_is_not_pending() {
        let tree = Tree::new();
        tree.file("lib/modules/7.3.4/modules.builtin", "kernel/drivers/a/acme-svp.ko\n");
        assert_eq!(state(&tree, "acme_svp"), BuiltIn);
        // An initrd can lack the list.
        tree.directory("sys/module/other/parameters");
        assert_eq!(state(&tree, "other"), BuiltIn);
        assert!(BuiltIn.has_finished() && Missing.has_finished() && Live.has_finished());
    }

    #[test]
    fn sysfs_shows_the_state_of_a_module() {
        let tree = Tree::new();
        tree.file("lib/modules/7.3.4/modules.dep", "acme_svp.ko:\n");
        assert!(!state(&tree, "acme_svp").has_finished());
        tree.directory("sys/module/acme_svp/holders");
        assert_eq!(state(&tree, "acme_svp"), Coming, "it has no initstate yet");
        for (word, expected) in [("coming", Coming), ("live", Live), ("going", Gone)] {
            tree.file("sys/module/acme_svp/initstate", format!("{word}\n"));
            assert_eq!(state(&tree, "acme_svp"), expected);
        }
    }

    #[test]
    fn module_that_vanishes_while_it_is_loaded_has_failed() {
        let tree = Tree::new();
        let seen = |known| update(&tree.root(), "acme_svp", known);
        assert_eq!([Missing, Installed, BuiltIn].map(seen), [Missing, Installed, BuiltIn]);
        assert_eq!([Coming, Live, Gone].map(seen), [Gone; 3]);
        assert!(Gone.has_finished());
        tree.file("sys/module/acme_svp/initstate", "coming\n");
        assert_eq!([Installed, Coming, Gone, Missing].map(seen), [Coming; 4]);
    }
}
