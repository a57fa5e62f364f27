// SPDX-License-Identifier: MIT OR Apache-2.0

//! A set of policy files on disk, and what the programs read from it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use protheap_board::root::Root;
use protheap_policy::cascade::Judged;
use protheap_policy::policy::Policy;
use protheap_runtime::survey::{Extent, read_policies};

use crate::found::gpu_of;
use crate::set::{Entry, GPUS, IMAGES, Kind, Place, Set};

/// A temporary directory of one case, removed on drop.
pub(crate) struct Tree(PathBuf);

impl Tree {
    pub(crate) fn new(set: &Set) -> Self {
        Self::in_order(set, &set.files.keys().copied().collect::<Vec<_>>())
    }

    pub(crate) fn in_order(set: &Set, places: &[Place]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("protheap-policy-sets-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        fs::create_dir(&tree.0).unwrap();
        for place in places {
            tree.make(*place, &set.files[place]);
        }
        for (directory, mode) in &set.open {
            let path = tree.0.join(directory);
            if path.is_dir() {
                chmod(&path, *mode);
            }
        }
        if let Some((text, mode, _)) = set.image.map(|image| IMAGES[image]) {
            let path = tree.0.join("usr/lib/protheap/image.toml");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, text, mode);
        }
        tree
    }

    fn make(&self, place: Place, entry: &Entry) {
        let path = self.0.join(place.path());
        // The mode must not depend on the umask.
        let directory = self.0.join(place.directory());
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).unwrap();
        match &entry.kind {
            Kind::Text(content) => write(&path, content.text(), entry.mode),
            Kind::Empty => write(&path, "", entry.mode),
            Kind::Faulty(bytes) => write(&path, bytes, entry.mode),
            Kind::Null => symlink("/dev/null", path).unwrap(),
            Kind::Dangling => symlink("/nowhere", path).unwrap(),
            Kind::Directory => fs::create_dir(path).unwrap(),
        }
    }

    pub(crate) fn read(
        &self,
        set: &Set,
        board: &[String],
        extent: Extent,
    ) -> (Policy, Vec<Judged>) {
        let root = Root::open(&self.0).unwrap();
        let (policy, mut judged) =
            read_policies(&root, board, set.lockdown, extent, &mut Vec::new());
        for file in &mut judged {
            file.path = self.without(&file.path);
        }
        (policy, judged)
    }

    pub(crate) fn without(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "")
    }

    /// Returns the paths of the files that apply.
    pub(crate) fn files(&self, policy: &Policy) -> Vec<String> {
        policy.files().map(|file| self.without(&file.path)).collect()
    }

    /// Returns all contents of a policy with their origins.
    pub(crate) fn shown(&self, policy: &Policy) -> String {
        let files: Vec<_> = policy.files().collect();
        let gpus = GPUS.map(|gpu| gpu_of(policy, gpu).map(|gpu| gpu.table().clone()));
        self.without(&format!("{files:?} {:?} {gpus:?} {:?}", policy.keys(), policy.content()))
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn write(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    fs::write(path, content).unwrap();
    chmod(path, mode);
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
