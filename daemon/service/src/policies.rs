// SPDX-License-Identifier: MIT OR Apache-2.0

//! Notices when policies change. What is told is a hint: they are read anew as a whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use protheap_board::platform;
use protheap_board::policies::{DIRECTORIES, IMAGE};
use protheap_board::root::Root;
use protheap_policy::cascade::keys;
use protheap_policy::name::Key;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long nothing has to happen before policies are read: a package replaces many files.
const QUIET: Duration = Duration::from_millis(200);
/// They are read after this time whatever happens.
const AT_LATEST: Duration = Duration::from_secs(2);

/// Watches the directories that policies are in.
pub(crate) struct Policies {
    root: PathBuf,
    watcher: RecommendedWatcher,
    changed: Arc<Notify>,
    watched: BTreeSet<PathBuf>,
    /// What the files of this board are named after.
    keys: Vec<Key>,
}

impl Policies {
    /// Begins to watch: what changes below `root` from now on is told.
    pub(crate) fn watch(root: &Path) -> anyhow::Result<Self> {
        let changed = Arc::new(Notify::new());
        let (tell, below) = (Arc::clone(&changed), root.to_owned());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // What was lost can have been anything.
            if event.as_ref().map_or(true, |event| matters(event, &below)) {
                tell.notify_one();
            }
        });
        let watcher = watcher.context("watching the policies; inotify has to be there")?;
        // Who binds tells what is wrong with it.
        let platform = platform::read(&Root::open(root)?, &mut Vec::new());
        let keys = keys(&platform.compatible);
        let root = root.to_owned();
        let mut policies = Self { root, watcher, changed, watched: BTreeSet::new(), keys };
        policies.follow();
        Ok(policies)
    }

    /// Returns when something has changed and nothing goes on changing.
    pub(crate) async fn changed(&mut self) {
        self.changed.notified().await;
        let latest = Instant::now() + AT_LATEST;
        loop {
            let quiet = latest.min(Instant::now() + QUIET);
            tokio::select! {
                () = sleep_until(quiet) => break,
                () = self.changed.notified() => {}
            }
        }
        self.follow();
    }

    /// Watches what there is now: a directory that comes is told of by the one above it.
    fn follow(&mut self) {
        let wanted = wanted(&self.root, &self.keys);
        for gone in self.watched.difference(&wanted) {
            // It may be gone with its watch.
            let _ = self.watcher.unwatch(gone);
        }
        // A watch is of a directory, not of its path: another may have its path by now.
        self.watched = wanted
            .into_iter()
            .filter(|path| {
                let _ = self.watcher.unwatch(path);
                self.watcher.watch(path, RecursiveMode::NonRecursive).is_ok()
            })
            .collect();
    }
}

/// The directories that say something of a board's policies.
///
/// Each comes with the one above it, which tells when it is replaced. What is above both is watched
/// only while one of them is missing or a link: who opens files in `/etc` would wake the daemon.
fn wanted(root: &Path, keys: &[Key]) -> BTreeSet<PathBuf> {
    let mut wanted = BTreeSet::new();
    for place in DIRECTORIES.iter().copied().chain([IMAGE]) {
        let place = root.join(place);
        let mut ancestors = place.ancestors();
        let (itself, parent, above) = (ancestors.next(), ancestors.next(), ancestors.next());
        let is_there = |path: &&Path| path.is_dir() && !path.is_symlink();
        let watched = itself.into_iter().chain(parent).filter(|path| path.is_dir());
        wanted.extend(watched.map(Path::to_owned));
        if parent.filter(is_there).is_none() {
            wanted.extend(above.map(Path::to_owned));
        }
        let drop_ins = keys.iter().map(|key| place.join(format!("{key}.toml.d")));
        wanted.extend(drop_ins.filter(|path| path.is_dir()));
    }
    wanted
}

/// It changed something that policies are read from. Reading does not, nor what Protheap itself
/// writes beside the policies of `/run`.
fn matters(event: &Event, root: &Path) -> bool {
    let written = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    let is_ours = |path: &PathBuf| {
        let path = path.strip_prefix(root).unwrap_or(path);
        let of = |place: &str| {
            let place = Path::new(place);
            path.starts_with(place) || place.starts_with(path)
        };
        DIRECTORIES.iter().any(|directory| of(directory)) || of(IMAGE)
    };
    written && (event.paths.is_empty() || event.paths.iter().any(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn what_changes_policies_is_told_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("protheapd-policies-{}", std::process::id()));
        let tree = "sys/firmware/devicetree/base";
        for directory in ["etc", "run/protheap", "usr/lib", tree] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join(tree).join("compatible"), "acme,a9\0").unwrap();
        let mut policies = Policies::watch(&root).unwrap();
        let mut told = async || tokio::time::timeout(QUIET * 2, policies.changed()).await.is_ok();
        let protheap = root.join("etc/protheap");
        let policy = protheap.join("policies/acme,a9.toml");
        let drop_ins = policy.with_extension("toml.d");

        fs::write(root.join("etc/other"), "").unwrap();
        fs::write(root.join("run/protheap/state.json"), "").unwrap();
        assert!(!told().await);
        fs::create_dir_all(protheap.join("policies")).unwrap();
        assert!(told().await);
        fs::write(&policy, "").unwrap();
        assert!(told().await);
        fs::read(&policy).unwrap();
        fs::read_dir(protheap.join("policies")).unwrap();
        assert!(!told().await);
        fs::create_dir(&drop_ins).unwrap();
        assert!(told().await);
        fs::write(drop_ins.join("more.toml"), "").unwrap();
        assert!(told().await);
        let other = protheap.join("policies/acme,b2.toml.d");
        fs::create_dir(&other).unwrap();
        assert!(told().await);
        fs::write(other.join("more.toml"), "").unwrap();
        assert!(!told().await);

        // Another directory takes its place, by a link.
        fs::create_dir(protheap.join("other")).unwrap();
        symlink("other", protheap.join("link")).unwrap();
        assert!(!told().await);
        fs::rename(protheap.join("policies"), protheap.join("old")).unwrap();
        fs::rename(protheap.join("link"), protheap.join("policies")).unwrap();
        assert!(told().await);
        fs::write(protheap.join("old/acme,a9.toml"), "").unwrap();
        assert!(!told().await);
        fs::write(protheap.join("other/acme,a9.toml"), "").unwrap();
        assert!(told().await);
        fs::remove_dir_all(&protheap).unwrap();
        assert!(told().await);
        fs::create_dir_all(protheap.join("policies")).unwrap();
        assert!(told().await);
        fs::remove_dir_all(&root).unwrap();
    }
}
