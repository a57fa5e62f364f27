// SPDX-License-Identifier: MIT OR Apache-2.0

//! Detects changes of policy files. Events are only hints: the policies are read again as a whole.

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

/// Time without events before the policies are read: a package replaces many files.
const QUIET: Duration = Duration::from_millis(200);
/// Maximum time from the first event until the policies are read.
const AT_LATEST: Duration = Duration::from_secs(2);

/// Watches the directories of policies.
pub(crate) struct Policies {
    root: PathBuf,
    watcher: RecommendedWatcher,
    changed: Arc<Notify>,
    watched: BTreeSet<PathBuf>,
    /// Names of this board's policy files.
    keys: Vec<Key>,
}

impl Policies {
    /// Starts to watch the policy directories below `root`. Changes from now on are detected.
    pub(crate) fn watch(root: &Path) -> anyhow::Result<Self> {
        let changed = Arc::new(Notify::new());
        let (notifier, below) = (Arc::clone(&changed), root.to_owned());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Lost events may have been about policies.
            if event.as_ref().map_or(true, |event| matters(event, &below)) {
                notifier.notify_one();
            }
        });
        let watcher = watcher.context("failed to watch the policies with inotify")?;
        // The bindings' thread reports problems with these files.
        let platform = platform::read(&Root::open(root)?, &mut Vec::new());
        let keys = keys(&platform.compatible);
        let root = root.to_owned();
        let mut policies = Self { root, watcher, changed, watched: BTreeSet::new(), keys };
        policies.follow();
        Ok(policies)
    }

    /// Waits for a change, and then until changes have stopped.
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

    /// Updates the watches. A new directory is detected through its parent directory.
    fn follow(&mut self) {
        let wanted = wanted(&self.root, &self.keys);
        for gone in self.watched.difference(&wanted) {
            // The directory and its watch may be gone already.
            let _ = self.watcher.unwatch(gone);
        }
        // A watch refers to a directory instead of its path, which may belong to another directory
        // now.
        self.watched = wanted
            .into_iter()
            .filter(|path| {
                let _ = self.watcher.unwatch(path);
                self.watcher.watch(path, RecursiveMode::NonRecursive).is_ok()
            })
            .collect();
    }
}

/// Returns the directories to watch for a board's policies.
///
/// Each directory is watched together with its parent, which reports that it was replaced. The
/// grandparent is watched only while the parent is missing or a link: otherwise every program that
/// opens files in `/etc` would wake the daemon.
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

/// Returns whether an event may have changed policies. Reads do not, nor do the files that Protheap
/// itself writes beside the policies in `/run`.
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
    async fn only_changes_of_policies_are_reported() {
        let root = std::env::temp_dir().join(format!("protheapd-policies-{}", std::process::id()));
        let tree = "sys/firmware/devicetree/base";
        for directory in ["etc", "run/protheap", "usr/lib", tree] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join(tree).join("compatible"), "acme,a9\0").unwrap();
        let mut policies = Policies::watch(&root).unwrap();
        let mut changed =
            async || tokio::time::timeout(QUIET * 2, policies.changed()).await.is_ok();
        let protheap = root.join("etc/protheap");
        let policy = protheap.join("policies/acme,a9.toml");
        let drop_ins = policy.with_extension("toml.d");

        fs::write(root.join("etc/other"), "").unwrap();
        fs::write(root.join("run/protheap/state.json"), "").unwrap();
        assert!(!changed().await);
        fs::create_dir_all(protheap.join("policies")).unwrap();
        assert!(changed().await);
        fs::write(&policy, "").unwrap();
        assert!(changed().await);
        fs::read(&policy).unwrap();
        fs::read_dir(protheap.join("policies")).unwrap();
        assert!(!changed().await);
        fs::create_dir(&drop_ins).unwrap();
        assert!(changed().await);
        fs::write(drop_ins.join("more.toml"), "").unwrap();
        assert!(changed().await);
        let other = protheap.join("policies/acme,b2.toml.d");
        fs::create_dir(&other).unwrap();
        assert!(changed().await);
        fs::write(other.join("more.toml"), "").unwrap();
        assert!(!changed().await);

        // Replace the directory with a link to another one.
        fs::create_dir(protheap.join("other")).unwrap();
        symlink("other", protheap.join("link")).unwrap();
        assert!(!changed().await);
        fs::rename(protheap.join("policies"), protheap.join("old")).unwrap();
        fs::rename(protheap.join("link"), protheap.join("policies")).unwrap();
        assert!(changed().await);
        fs::write(protheap.join("old/acme,a9.toml"), "").unwrap();
        assert!(!changed().await);
        fs::write(protheap.join("other/acme,a9.toml"), "").unwrap();
        assert!(changed().await);
        fs::remove_dir_all(&protheap).unwrap();
        assert!(changed().await);
        fs::create_dir_all(protheap.join("policies")).unwrap();
        assert!(changed().await);
        fs::remove_dir_all(&root).unwrap();
    }
}
