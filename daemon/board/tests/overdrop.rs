// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which file of a name counts is a convention that other programs follow too: compared with
//! `liboverdrop`, over random directories.
//!
//! It differs on purpose in what is not made here: it passes over what is no file, where we refuse
//! that and let it hide others; it does not follow links; and it asks nobody who could write a file.

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

/// The first wins.
const LAYERS: [&str; 3] = ["etc", "run", "usr/lib"];
const KEYS: [&str; 3] = ["default", "acme,soc", "acme,a9"];

#[derive(Debug, Clone)]
enum Entry {
    Text(String),
    Empty,
    Null,
}

/// A directory of a case's own, removed when it is dropped.
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
        // Whatever the umask is.
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

/// Files by path.
fn entries() -> impl Strategy<Value = BTreeMap<String, Entry>> {
    let key = prop::sample::select(&KEYS[..]);
    // Few names, so that most are in several layers; some are no drop-ins, though they look so.
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

/// What `liboverdrop` finds in `directory` of the layers, without empty files: it does not take
/// them for masks.
fn scan(tree: &Path, directory: &str) -> BTreeMap<String, PathBuf> {
    let layers = LAYERS.iter().rev().map(|layer| tree.join(layer));
    liboverdrop::scan(layers, directory, &["toml"], true)
        .into_iter()
        .filter(|(_, path)| fs::metadata(path).unwrap().len() > 0)
        .map(|(name, path)| (name.into_string().unwrap(), path))
        .collect()
}

/// A case is a tree on a disk, and costs as much as many others: a quarter of the usual number.
fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(ProptestConfig::default().cases / 4)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_same_files_count(entries in entries()) {
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
