// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes `/run/protheap`, which sandboxes and early boot read.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use protheap_policy::name::HeapName;
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, fchmod, flock, mkdirat, openat, readlinkat_raw,
    renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::Problem;
use crate::root::Root;

const DIRECTORY: &str = "protheap";
const STATE: &str = "state.json";
const LOCK: &str = "lock";
const HEAPS: &str = "heaps";
const BOUND: &str = "bound";
const GPU: &str = "gpu";

/// A directory in `/run`, open for writing. Links in it are never followed.
#[derive(Debug)]
pub struct RunDirectory {
    directory: OwnedFd,
    path: String,
}

/// Exclusive right to create bindings, held by one program at a time.
#[derive(Debug)]
pub struct Lock {
    _file: OwnedFd,
}

impl RunDirectory {
    /// Opens `/run/protheap` and creates it if necessary.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be created or is not a directory.
    pub fn open(root: &Root) -> Result<Self, Problem> {
        Self::named(root, DIRECTORY)
    }

    /// Opens the directory `name` as [`Self::open`] does.
    pub(crate) fn named(root: &Root, name: &str) -> Result<Self, Problem> {
        let path = root.shown(&format!("run/{name}"));
        let opened = root
            .open_at("run", OFlags::PATH | OFlags::DIRECTORY)
            .and_then(|run| directory(&run, name));
        match opened {
            Ok(directory) => Ok(Self { directory, path }),
            Err(e) => Err(Problem::new(path, format!("failed to create or open: {e}"))),
        }
    }

    /// Acquires the exclusive right to create bindings on this machine, until the returned lock is
    /// dropped. Calls `busy` before waiting for another program. Removes the mark that
    /// [`Self::mark_bound`] made, as bindings may change.
    ///
    /// # Errors
    ///
    /// Returns an error if the lock file cannot be created or the file system does not support
    /// locks.
    pub fn lock(&self, busy: impl FnOnce()) -> Result<Lock, Problem> {
        let failed = |e: Errno| {
            Problem::new(format!("{}/{LOCK}", self.path), format!("failed to lock: {e}"))
        };
        // Do not lock the directory itself: any user who may read it could lock it and block this
        // program.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = openat(&self.directory, LOCK, flags, mode).map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            busy();
        }
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                done => {
                    let _ = unlinkat(&self.directory, BOUND, AtFlags::empty());
                    return done.map(|()| Lock { _file: file }).map_err(failed);
                }
            }
        }
    }

    /// Marks each GPU as bound: the binder of a later root has nothing to do until a program takes
    /// the lock.
    ///
    /// # Errors
    ///
    /// Returns an error if the mark could not be written.
    pub fn mark_bound(&self, _: &Lock) -> Result<(), Problem> {
        self.replace(BOUND, b"")
    }

    /// Creates the file that `protheap-bind.service` has as a condition: this machine has a Mali
    /// CSF GPU.
    ///
    /// # Errors
    ///
    /// Returns an error if the file could not be written.
    pub fn mark_gpu(&self) -> Result<(), Problem> {
        self.replace(GPU, b"")
    }

    /// Returns whether `state.json` exists.
    pub fn has_state(&self) -> bool {
        statat(&self.directory, STATE, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Replaces `state.json` atomically: readers see either the old or the new contents.
    ///
    /// # Errors
    ///
    /// Returns an error if the new file could not be written; the old one is kept.
    pub fn write_state(&self, json: &[u8]) -> Result<(), Problem> {
        self.replace(STATE, json)
    }

    /// Replaces the file `name` atomically.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        // The binder and the daemon may write concurrently, so each has its own temporary file.
        let new = format!(".{name}.{}", std::process::id());
        let done = self.write_new(&new, bytes).and_then(|()| self.rename(&new, name));
        done.map_err(|e| {
            let _ = unlinkat(&self.directory, &new, AtFlags::empty());
            Problem::new(format!("{}/{name}", self.path), format!("failed to write: {e}"))
        })
    }

    /// Makes `heaps/<usage>` a link to the device node of each usage's heap, and removes other
    /// links.
    ///
    /// # Errors
    ///
    /// Returns the first error. The remaining links are processed nevertheless.
    pub fn link_heaps(&self, heaps: &BTreeMap<String, HeapName>) -> Result<(), Problem> {
        let failed = |name: &str, e: Errno| {
            Problem::new(format!("{}/{HEAPS}/{name}", self.path), format!("failed to link: {e}"))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = if heaps.is_empty() {
            match openat(&self.directory, HEAPS, flags, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(()),
                opened => opened,
            }
        } else {
            directory(&self.directory, HEAPS)
        };
        let directory = directory.map_err(|e| failed("", e))?;

        let mut first = Ok(());
        for name in names(&directory).map_err(|e| failed("", e))? {
            if !heaps.contains_key(&name)
                && let Err(e) = unlinkat(&directory, &name, AtFlags::empty())
            {
                first = first.and(Err(failed(&name, e)));
            }
        }
        for (usage, heap) in heaps {
            let linked = match HeapName::new(usage) {
                // A usage must be a valid heap name. Names that start with a dot are temporary
                // files.
                Ok(usage) if !usage.as_str().starts_with('.') => {
                    link(&directory, usage.as_str(), &format!("/dev/dma_heap/{heap}"))
                }
                _ => Err(Errno::INVAL),
            };
            if let Err(e) = linked {
                first = first.and(Err(failed(usage, e)));
            }
        }
        first
    }

    fn write_new(&self, name: &str, mut bytes: &[u8]) -> Result<(), Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = match openat(&self.directory, name, flags, mode) {
            // Left over from a killed process with the same PID.
            Err(Errno::EXIST) => {
                unlinkat(&self.directory, name, AtFlags::empty())?;
                openat(&self.directory, name, flags, mode)?
            }
            opened => opened?,
        };
        // Set the mode regardless of the umask.
        fchmod(&file, mode)?;
        while !bytes.is_empty() {
            let written = rustix::io::write(&file, bytes)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        renameat(&self.directory, from, &self.directory, to)
    }
}

/// Opens the directory `name` in `parent`, creating it world-readable if necessary.
fn directory(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(0o755);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match mkdirat(parent, name, mode) {
        Ok(()) => {
            let directory = openat(parent, name, flags, Mode::empty())?;
            fchmod(&directory, mode)?;
            Ok(directory)
        }
        Err(Errno::EXIST) => openat(parent, name, flags, Mode::empty()),
        Err(e) => Err(e),
    }
}

/// Makes `name` a link to `target`, replacing an existing entry atomically.
fn link(directory: &OwnedFd, name: &str, target: &str) -> Result<(), Errno> {
    match symlinkat(target, directory, name) {
        Err(Errno::EXIST) => {}
        done => return done,
    }
    let mut buffer = [0u8; 512];
    let length = readlinkat_raw(directory, name, buffer.as_mut_slice());
    if length.is_ok_and(|length| buffer.get(..length) == Some(target.as_bytes())) {
        return Ok(());
    }
    let new = format!(".{}", std::process::id());
    match unlinkat(directory, &new, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    symlinkat(target, directory, &new)?;
    renameat(directory, &new, directory, name)
}

/// Returns the names in `directory`.
fn names(directory: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut entries = rustix::fs::RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn opened(tree: &Tree) -> RunDirectory {
        tree.directory("run");
        RunDirectory::open(&tree.root()).unwrap()
    }

    fn heap(usage: &str, name: &str) -> (String, HeapName) {
        (usage.to_owned(), HeapName::new(name).unwrap())
    }

    #[test]
    fn lock_is_exclusive() {
        let tree = Tree::new();
        let run = opened(&tree);
        let first = run.lock(|| panic!("nobody else has it")).unwrap();
        let mut held = Some(first);
        let mut waited = false;
        let second = run.lock(|| {
            waited = true;
            drop(held.take());
        });
        assert!(second.is_ok() && waited);
    }

    #[test]
    fn lock_removes_the_bound_mark() {
        let tree = Tree::new();
        let run = opened(&tree);
        let path = tree.0.join("run/protheap/bound");
        run.mark_bound(&run.lock(|| {}).unwrap()).unwrap();
        assert!(path.is_file());
        run.lock(|| {}).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn write_state_replaces_the_file_and_keeps_it_readable() {
        let tree = Tree::new();
        let run = opened(&tree);
        run.write_state(b"{\"long\": \"old one\"}").unwrap();
        let left = tree.0.join(format!("run/protheap/.{STATE}.{}", std::process::id()));
        fs::write(&left, "half").unwrap();
        run.write_state(b"{}").unwrap();
        let path = tree.0.join("run/protheap/state.json");
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(path), 0o644);
        assert_eq!(mode(tree.0.join("run/protheap")), 0o755);
        assert!(!left.exists());
    }

    #[test]
    fn a_planted_link_is_replaced_not_followed() {
        let tree = Tree::new();
        tree.file("victim", "mine");
        tree.link("../../victim", "run/protheap/state.json");
        let pid = std::process::id();
        tree.link("../../victim", &format!("run/protheap/.state.json.{pid}"));
        opened(&tree).write_state(b"{}").unwrap();
        assert_eq!(fs::read(tree.0.join("victim")).unwrap(), b"mine");
        assert_eq!(fs::read(tree.0.join("run/protheap/state.json")).unwrap(), b"{}");

        let tree = Tree::new();
        tree.directory("elsewhere");
        tree.link("../elsewhere", "run/protheap");
        assert!(RunDirectory::open(&tree.root()).is_err());
    }

    #[test]
    fn link_heaps_updates_and_removes_links() {
        let tree = Tree::new();
        let run = opened(&tree);
        run.link_heaps(&BTreeMap::new()).unwrap();
        assert!(!tree.0.join("run/protheap/heaps").exists());

        let two = BTreeMap::from([heap("secure-video", "protected,secure-video"), heap("ui", "x")]);
        run.link_heaps(&two).unwrap();
        let target =
            |usage: &str| fs::read_link(tree.0.join("run/protheap/heaps").join(usage)).ok();
        let node = |name: &str| Some(std::path::PathBuf::from("/dev/dma_heap").join(name));
        assert_eq!(target("secure-video"), node("protected,secure-video"));
        assert_eq!(target("ui"), node("x"));

        let one = BTreeMap::from([heap("secure-video", "acme_svp")]);
        run.link_heaps(&one).unwrap();
        run.link_heaps(&one).unwrap();
        assert_eq!(target("secure-video"), node("acme_svp"));
        assert_eq!(target("ui"), None);
        assert_eq!(fs::read_dir(tree.0.join("run/protheap/heaps")).unwrap().count(), 1);
    }

    #[test]
    fn link_heaps_rejects_invalid_usages_and_links_the_others() {
        let tree = Tree::new();
        let run = opened(&tree);
        let heaps = BTreeMap::from([heap("../up", "a"), heap(".dot", "a"), heap("ok", "b")]);
        assert!(run.link_heaps(&heaps).is_err());
        assert!(tree.0.join("run/protheap/heaps/ok").is_symlink());
        assert!(!tree.0.join("run/protheap/up").exists());
    }
}
