// SPDX-License-Identifier: MIT OR Apache-2.0

//! Notices when policies change. What is told is a hint: they are read anew as a whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use protheap_board::policies::{DIRECTORIES, IMAGE};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long nothing has to happen before policies are read: a package replaces many files.
const QUIET: Duration = Duration::from_millis(200);
/// They are read after this time whatever happens.
const AT_LATEST: Duration = Duration::from_secs(2);

/// Watches the directories that policies are in.
pub(crate) struct Policies {
    watcher: RecommendedWatcher,
    changed: Arc<Notify>,
    watched: BTreeSet<PathBuf>,
}

impl Policies {
    /// Begins to watch: what changes from now on is told.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let changed = Arc::new(Notify::new());
        let tell = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // What was lost can have been anything.
            if event.as_ref().map_or(true, matters) {
                tell.notify_one();
            }
        });
        let watcher = watcher.context("watching the policies; inotify has to be there")?;
        let mut policies = Self { watcher, changed, watched: BTreeSet::new() };
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
        let wanted = wanted();
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

/// The directories that say something of policies, and those above them.
fn wanted() -> BTreeSet<PathBuf> {
    let mut wanted = BTreeSet::new();
    for directory in DIRECTORIES.iter().copied().chain([IMAGE]) {
        let directory = Path::new("/").join(directory);
        // Beyond /usr/lib and the like, nobody replaces a directory.
        wanted
            .extend(directory.ancestors().take(3).filter(|path| path.is_dir()).map(Path::to_owned));
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        let drop_ins = |path: &PathBuf| path.extension().is_some_and(|end| end == "d");
        wanted.extend(entries.filter_map(Result::ok).map(|entry| entry.path()).filter(drop_ins));
    }
    wanted
}

/// It changed something that policies are read from. Reading does not, nor what Protheap itself
/// writes beside the policies of `/run`.
fn matters(event: &Event) -> bool {
    let written = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    let is_ours = |path: &PathBuf| {
        let path = path.strip_prefix("/").unwrap_or(path);
        let of = |place: &str| {
            let place = Path::new(place);
            path.starts_with(place) || place.starts_with(path)
        };
        DIRECTORIES.iter().any(|directory| of(directory)) || of(IMAGE)
    };
    written && (event.paths.is_empty() || event.paths.iter().any(is_ours))
}
