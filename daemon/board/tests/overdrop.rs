// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compares the precedence of policy files with `liboverdrop`, which implements the same
//! convention, over random directories.
//!
//! The implementations differ on purpose in cases that are not generated here. `liboverdrop` skips
//! entries that are not regular files, while this crate rejects them and lets them hide others.
//! `liboverdrop` does not follow links, and does not check who could have written a file.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::collection::btree_map;
use proptest::prelude::*;
use protheap_board::policies::Directories;
use protheap_board::root::Root;
use protheap_policy::cascade::Standing;
use protheap_policy::name::Key;

/// Directories in order of precedence.
const LAYERS: [&str; 3] = ["etc", "run", "usr/lib"];
const KEYS: [&str; 3] = ["default", "acme,soc", "acme,a9"];

#[derive(Debug, Clone)]
enum Entry {
    Text(String),
    Empty,
    Null,
}

/// A directory for one test case, removed on drop.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("protheap-overdrop-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn make(&self, path: &str, entry: &Entry) {
        let path = self.0.join(path);
        let directory = path.parent().unwrap();
        // Set the mode regardless of the umask.
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).unwrap();
        let text = match entry {
            Entry::Text(text) => text,
            Entry::Empty => "",
            Entry::Null => return symlink("/dev/null", path).unwrap(),
        };
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Generates files by path.
fn entries() -> impl Strategy<Value = BTreeMap<String, Entry>> {
    let key = prop::sample::select(&KEYS[..]);
    // Use few names so that most occur in several layers; some look like drop-ins but are not.
    let drop_in = "[12]?-?[abB]{1,2}\\.(toml|toml|toml|conf|toml\\.bak|TOML)|\\.?toml|\\.a\\.toml";
    let name = prop_oneof![
        1 => key.clone().prop_map(|key| format!("{key}.toml")),
        3 => (key, drop_in).prop_map(|(key, name)| format!("{key}.toml.d/{name}")),
    ];
    let path = (prop::sample::select(&LAYERS[..]), name)
        .prop_map(|(layer, name)| format!("{layer}/protheap/policies/{name}"));
    let entry = prop_oneof![
        4 => "[a-z]{1,8}".prop_map(Entry::Text),
        1 => Just(Entry::Empty),
        1 => Just(Entry::Null),
    ];
    btree_map(path, entry, 0..40)
}

/// Returns the non-empty files that `liboverdrop` finds in `directory` of the layers. It does not
/// treat empty files as masks.
fn scan(tree: &Path, directory: &str) -> BTreeMap<String, PathBuf> {
    let layers = LAYERS.iter().rev().map(|layer| tree.join(layer));
    liboverdrop::scan(layers, directory, &["toml"], true)
        .into_iter()
        .filter(|(_, path)| fs::metadata(path).unwrap().len() > 0)
        .map(|(name, path)| (name.into_string().unwrap(), path))
        .collect()
}

/// Each case creates a file tree on disk, which is expensive: run a quarter of the usual number.
fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(ProptestConfig::default().cases / 4)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn precedence_matches_liboverdrop(entries in entries()) {
        let tree = Tree::new();
        for (path, entry) in &entries {
            tree.make(path, entry);
        }
        let mut expected = Vec::new();
        let files = scan(&tree.0, "protheap/policies");
        for key in KEYS {
            expected.extend(files.get(&format!("{key}.toml")).cloned());
            expected.extend(scan(&tree.0, &format!("protheap/policies/{key}.toml.d")).into_values());
        }

        let root = Root::open(&tree.0).unwrap();
        let keys = KEYS.map(|key| Key::new(key).unwrap());
        for all in [false, true] {
            let mut problems = Vec::new();
            let files = Directories::open(&root).read(&root, &keys, all, &mut problems);
            prop_assert_eq!(problems, []);
            let counts = files.iter().filter(|file| matches!(file.standing, Standing::Text(_)));
            let counts: Vec<_> = counts.map(|file| PathBuf::from(&file.path)).collect();
            prop_assert_eq!(&counts, &expected);
            let listed: BTreeSet<_> = files.iter().map(|file| &file.path).collect();
            prop_assert_eq!(listed.len(), files.len());
        }
    }
}
